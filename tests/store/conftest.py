"""Fixtures of the store's tests: the places a store can lie in."""

from pathlib import Path

import pytest

from tests.store.places import Place


@pytest.fixture(params=["directory", "directory + postgres", "memory", "bucket + postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new, empty place of each kind."""
    match request.param:
        case "directory":
            return Place(str(tmp_path))
        case "directory + postgres":
            return Place(str(tmp_path), request.getfixturevalue("postgres_url"))
        case "bucket + postgres":
            bucket = request.getfixturevalue("s3").new_bucket()
            return Place(f"s3://{bucket}/genes", request.getfixturevalue("postgres_url"))
        case _:
            return Place("memory://")
