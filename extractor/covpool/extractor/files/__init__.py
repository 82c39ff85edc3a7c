"""Files: digests, verified reading, and errors of unreadable files."""
