"""Networks that train at once on one GPU, by `vmap`: `python -m experiments.sweep.vmap`."""
