"""Fitting: poolings fitted to moments of the store."""
