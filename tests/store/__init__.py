"""Tests of the store room, as claims."""
