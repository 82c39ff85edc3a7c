"""Tools that look after a store: verify, rebuild, compact, gc, export."""
