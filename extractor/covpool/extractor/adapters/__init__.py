"""Adapters: one file per model family behind one protocol."""
