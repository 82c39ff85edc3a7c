"""Migrations of the service's tables, as `covpool.store.database.migrations` runs them."""
