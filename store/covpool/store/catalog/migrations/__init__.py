"""Revisions of the tables of the catalog."""
