"""Inputs of an evaluation: genes, terms, tracks, and the targets made of them."""
