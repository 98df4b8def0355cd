"""Scripts that make the tables and pictures of README and results/; run from a checkout."""
