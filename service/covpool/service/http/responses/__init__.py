"""Responses: bodies and headers that several routes send."""
