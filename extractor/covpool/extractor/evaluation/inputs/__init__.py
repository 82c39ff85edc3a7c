"""Inputs of an evaluation: genes, terms, tracks, and the targets made from them."""
