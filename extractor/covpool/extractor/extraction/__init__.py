"""Extraction: activations summed to second moments, whole, in packs and in parts."""
