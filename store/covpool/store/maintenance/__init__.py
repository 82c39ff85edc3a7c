"""Maintenance of a store: verify, rebuild, compact, gc, export."""
