"""Interpretation: analyses of cached second moments of genes, features and models; numpy only."""
