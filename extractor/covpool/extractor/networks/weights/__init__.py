"""Weights of checkpoints, read from the published files."""
