"""One HTML page of finished runs: `python -m experiments.report`."""
