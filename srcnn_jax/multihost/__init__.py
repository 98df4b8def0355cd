"""Several processes, on one host or many: a wing that a training on one machine never enters."""
