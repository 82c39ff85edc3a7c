"""Tests that cross all rooms."""
