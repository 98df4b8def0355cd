"""The command `python -m experiments.bench`."""

from experiments.bench.compare import main

if __name__ == "__main__":
    main()
