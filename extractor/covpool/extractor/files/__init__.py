"""Files: their digests, checked copies, and errors of those that cannot be read."""
