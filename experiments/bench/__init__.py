"""Speed, memory and time to quality: `python -m experiments.bench`."""
