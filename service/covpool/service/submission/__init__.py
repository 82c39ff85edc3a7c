"""Submission: from a request to tasks of the queue."""
