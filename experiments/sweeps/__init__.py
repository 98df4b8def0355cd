"""Ready-made sweeps, for `python -m experiments.sweep FILE --workdir=DIR`."""
