"""Migrations of the service's tables, as `covpool.store.migrations` runs them."""
