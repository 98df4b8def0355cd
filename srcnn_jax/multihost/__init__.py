"""Training by several processes, on one host or many: how they start, meet and end."""
