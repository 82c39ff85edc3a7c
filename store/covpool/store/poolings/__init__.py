"""Poolings: from moments to an embedding, by a plain or a fitted rule; applying them needs only numpy."""
