"""Regions: selections of one sequence are keys of their own, found by the sequence, and merge."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covpool.store import CorruptEntryError, KeyNotFoundError, Moments, MomentsKey, Store
from covpool.store.testing import example_key, example_moments
from covpool.store.values.moments import merge

PARTS = {"upstream": 300, "CDS": 700, "intron": 950, "downstream": 50}
GENE = example_key("a gene")


def selection(name: str) -> MomentsKey:
    return replace(GENE, recipe=replace(GENE.recipe, selection=name))


def moments_of(x: np.ndarray) -> Moments:
    return Moments(len(x), x.mean(0), x.T @ x / len(x)).astype("float32")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A gene's activations as a whole and in parts, and another gene's."""
    x = np.random.default_rng(0).normal(0.5, 1.0, (sum(PARTS.values()), 48))
    with Store.open(tmp_path) as opened:
        opened.put(GENE, moments_of(x))
        for name, part in zip(PARTS, np.split(x, np.cumsum(list(PARTS.values()))[:-1]), strict=True):
            opened.put(selection(name), moments_of(part))
        opened.put(example_key("another"), example_moments("another", 48))
        yield opened


def test_stored_disjoint_parts_merge_to_the_whole(store: Store) -> None:
    whole, merged = store.get(GENE), merge(store.get(selection(name)) for name in PARTS)
    assert merged.count == whole.count
    # Each float32 entry is rounded to 6e-8 of itself, in the parts and in the whole.
    error = np.linalg.norm(merged.second_moment - whole.second_moment)
    assert error <= 1e-6 * np.linalg.norm(whole.second_moment)
    assert np.linalg.norm(merged.mean - whole.mean) <= 1e-6 * np.linalg.norm(whole.mean)


def test_all_keys_of_a_sequence_are_found_by_its_digest(store: Store) -> None:
    found = list(store.keys(sequence=GENE.sequence))
    assert {key.recipe.selection for key in found} == {"whole", *PARTS}
    assert {key.digest for key in found} == {GENE.digest, *(selection(name).digest for name in PARTS)}
    assert len(list(store.keys())) == len(PARTS) + 2
    assert list(store.keys(sequence="0" * 64)) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_moments_come_in_the_order_of_their_keys(store: Store, threads: int) -> None:
    keys = [selection(name) for name in PARTS] * 5 + [GENE]
    found = list(store.get_many(keys, threads=threads))
    assert [one.count for one in found] == [*list(PARTS.values()) * 5, 2000]
    for key, one in zip(keys, found, strict=True):
        assert one.second_moment.tobytes() == store.get(key).second_moment.tobytes()
    assert list(store.get_many([])) == []


def test_a_missing_or_damaged_key_among_many_raises_at_its_turn(store: Store, tmp_path: Path) -> None:
    reading = store.get_many([GENE, example_key("never stored"), GENE])
    assert next(reading).count == 2000
    with pytest.raises(KeyNotFoundError, match=str(example_key("never stored"))):
        next(reading)
    entry = store.entry(selection("CDS"))
    chunk = tmp_path / "arrays" / entry.namespace.id / "mean" / f"c.{entry.row}.0"
    if not chunk.exists():
        chunk = next((tmp_path / "arrays").glob(f"*/mean/c.{entry.row}.0"))
    chunk.unlink()
    reading = store.get_many([GENE, selection("CDS")])
    assert next(reading).count == 2000
    with pytest.raises(CorruptEntryError, match=str(selection("CDS"))):
        next(reading)


def test_keys_are_read_ahead_only_a_little(store: Store) -> None:
    asked: list[int] = []

    def keys() -> Iterator[MomentsKey]:
        for i in range(100):
            asked.append(i)
            yield GENE

    reading = store.get_many(keys(), threads=2)
    next(reading)
    assert len(asked) <= 5
    reading.close()  # type: ignore[attr-defined]


def test_no_threads_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        store.get_many([GENE], threads=0)
