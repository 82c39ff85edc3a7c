"""Catalog: the tables that say which row holds which key, under which names."""
