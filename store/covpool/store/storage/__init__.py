"""Storage: objects in a directory or a bucket, written whole, and forced to disk where asked."""
