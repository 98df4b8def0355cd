"""Sweeps of config fields: `python -m experiments.sweep`."""
