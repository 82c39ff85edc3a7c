"""Routes: one file per resource, thin over the store, the queue and the served models."""
