"""Interpretation: what cached second moments say about genes, features and models; numpy alone."""
