"""Extraction: computes moments that the store lacks and puts them there."""
