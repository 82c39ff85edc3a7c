"""Assemblies: registered assemblies, their genes, and tables of embeddings."""
