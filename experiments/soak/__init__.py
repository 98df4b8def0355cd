"""Faults on purpose, and hours of work: `python -m experiments.soak`."""
