"""Assemblies: registered genomes, their genes, and tables of their embeddings."""
