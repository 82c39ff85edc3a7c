"""Families: what is known of each model family without torch; one module each."""
