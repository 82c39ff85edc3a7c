"""Weights of checkpoints, read from the files that are published."""
