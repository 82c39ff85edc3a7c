"""Extraction: what the store lacks is computed and put there."""
