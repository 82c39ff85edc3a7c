"""Middleware of every request: request context (id, headers, last resort), then auth (token, rate, size)."""
