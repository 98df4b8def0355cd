"""The command `python -m experiments.report`."""

from experiments.report.page import main

if __name__ == "__main__":
    main()
