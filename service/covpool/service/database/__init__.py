"""Database: the service's own tables, tokens, and their revisions."""
