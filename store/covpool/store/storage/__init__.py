"""Storage: objects in a directory or a bucket, written whole, and flushed to disk on request."""
