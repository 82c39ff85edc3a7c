"""Processes: children that are started, listened to, and ended with their parent."""
