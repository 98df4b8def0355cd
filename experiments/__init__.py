"""What makes the tables and pictures of README and experiments/results/, from a checkout."""
