"""Tests of the service room, as claims."""
