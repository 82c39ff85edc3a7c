"""Commands of the store, one per file, each thin over the library."""
