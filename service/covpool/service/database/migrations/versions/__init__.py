"""The revisions of the service's tables, oldest first; a revision that was released is never edited."""
