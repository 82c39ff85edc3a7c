"""Damage on disk: no altered byte is ever served; the key is named, by `get` and by `verify`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from covpool.store import CorruptEntryError, Store
from covpool.store.testing import example_key, example_moments

NAMES = ("a", "b", "c")
CHUNKS = {"second_moment": "c.{}.0.0", "mean": "c.{}.0", "record": "c.{}.0"}


@pytest.fixture(params=["lossless", "cold", "bounded:1e-3"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Three entries, rows 0 to 2, in each codec."""
    with Store.open(tmp_path, codec=request.param) as opened:
        for name in NAMES:
            opened.put(example_key(name), example_moments(name, 9))
        yield opened


def chunk(directory: Path, array: str, row: int) -> Path:
    (found,) = (directory / "arrays").glob(f"*/{array}/{CHUNKS[array].format(row)}")
    return found


def assert_only_b_is_damaged(store: Store) -> None:
    key = example_key("b")
    with pytest.raises(CorruptEntryError, match=rf"{key}.*compute it again"):
        store.get(key)
    (problem,) = store.verify()
    assert problem.key == key.digest
    assert key.digest in problem.message
    for name in ("a", "c"):
        found, expected = store.get(example_key(name)).second_moment, example_moments(name, 9).second_moment
        bound = store.entry(example_key(name)).namespace.bound
        assert np.linalg.norm(found - expected) <= bound * np.linalg.norm(expected)


@pytest.mark.parametrize("array", CHUNKS)
def test_a_deleted_chunk_is_found(store: Store, tmp_path: Path, array: str) -> None:
    chunk(tmp_path, array, 1).unlink()
    assert_only_b_is_damaged(store)


@pytest.mark.parametrize("array", CHUNKS)
def test_a_chunk_swapped_with_that_of_another_key_is_found(store: Store, tmp_path: Path, array: str) -> None:
    shutil.copyfile(chunk(tmp_path, array, 0), chunk(tmp_path, array, 1))
    assert_only_b_is_damaged(store)


@pytest.mark.parametrize("array", CHUNKS)
def test_every_flipped_byte_is_found(store: Store, tmp_path: Path, array: str) -> None:
    path = chunk(tmp_path, array, 1)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(CorruptEntryError, match=str(example_key("b"))):
            store.get(example_key("b"))
    assert_only_b_is_damaged(store)
    path.write_bytes(whole)
    assert store.verify() == []


@pytest.mark.parametrize("array", CHUNKS)
def test_every_truncation_is_found(store: Store, tmp_path: Path, array: str) -> None:
    path = chunk(tmp_path, array, 1)
    whole = path.read_bytes()
    for length in [0, 1, 3, 4, 5, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert_only_b_is_damaged(store)


def test_putting_a_damaged_entry_again_mends_it(store: Store, tmp_path: Path) -> None:
    chunk(tmp_path, "second_moment", 1).write_bytes(b"nonsense")
    store.put(example_key("b"), example_moments("b", 9))
    assert store.verify() == []
    found = store.get(example_key("b"))
    expected = example_moments("b", 9).second_moment
    bound = store.entry(example_key("b")).namespace.bound
    assert np.linalg.norm(found.second_moment - expected) <= bound * np.linalg.norm(expected)


def test_verify_names_every_damaged_entry(store: Store, tmp_path: Path) -> None:
    chunk(tmp_path, "mean", 0).unlink()
    chunk(tmp_path, "record", 2).unlink()
    assert {problem.key for problem in store.verify()} == {str(example_key("a")), str(example_key("c"))}
