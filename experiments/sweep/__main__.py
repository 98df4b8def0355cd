"""The command `python -m experiments.sweep`."""

from experiments.sweep.cli import main

if __name__ == "__main__":
    main()
