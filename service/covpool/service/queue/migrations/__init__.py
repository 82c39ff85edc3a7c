"""Revisions of the queue's tables, as Alembic scripts."""
