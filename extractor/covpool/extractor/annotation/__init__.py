"""Annotation: where the genes of a genome lie."""
