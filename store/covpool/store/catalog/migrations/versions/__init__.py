"""The revisions of the store's tables, oldest first; a revision that was released is never edited."""
