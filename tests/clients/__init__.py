"""Tests of the clients room, as claims."""
