"""Poolings: from moments to an embedding, by a plain rule or a fitted rule; applying them needs only numpy."""
