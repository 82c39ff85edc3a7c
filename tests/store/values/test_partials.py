"""Partial sums: they come back to the bit or not at all, and are gone once the key is ready."""

from pathlib import Path

import numpy as np
import pytest

from covpool.store import CorruptEntryError, FormatVersionError, Store
from covpool.store.testing import example_key, example_moments
from covpool.store.values.packing import pack
from covpool.store.values.partial_sums import PartialSums

KEY = example_key("a long gene")


def partial(position: int = 40, width: int = 7) -> PartialSums:
    x = np.random.default_rng(position).normal(size=(40, width))
    staged = np.random.default_rng(1).normal(size=(3, width)).astype(np.float32)
    return PartialSums(position, 43, x.sum(0), pack(x.T @ x), staged, "bfloat16")


def assert_same(actual: PartialSums | None, expected: PartialSums) -> None:
    assert actual is not None
    assert (actual.position, actual.count, actual.staged_dtype) == (expected.position, 43, "bfloat16")
    for name in ("sums", "products", "staged"):
        one, other = getattr(actual, name), getattr(expected, name)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.mark.parametrize("location", ["memory", "disk"])
def test_partial_sums_come_back_bit_for_bit_and_the_last_ones_count(tmp_path: Path, location: str) -> None:
    with Store.open("memory://" if location == "memory" else tmp_path) as store:
        assert store.partials.get(KEY) is None
        store.partials.put(KEY, partial(10))
        store.partials.put(KEY, partial(20))
        store.partials.put(example_key("another"), partial(30))
        assert_same(store.partials.get(KEY), partial(20))
        assert_same(store.partials.get(str(KEY)), partial(20))
        assert KEY not in store
        store.partials.drop(KEY)
        store.partials.drop(KEY)
        assert store.partials.get(KEY) is None
        assert_same(store.partials.get(example_key("another")), partial(30))


def test_partial_sums_are_dropped_when_the_key_becomes_ready(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.partials.put(KEY, partial())
        store.put(KEY, example_moments("a long gene", 7))
        assert store.partials.get(KEY) is None
        assert list((tmp_path / "partials").iterdir()) == []


def test_partial_sums_left_behind_are_dropped_when_the_same_is_put_again(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a long gene", 7))
        store.partials.put(KEY, partial())
        store.put(KEY, example_moments("a long gene", 7))
        assert store.partials.get(KEY) is None


def test_every_flipped_byte_and_truncation_of_partial_sums_is_found(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.partials.put(KEY, partial())
        path = tmp_path / "partials" / str(KEY)
        whole = path.read_bytes()
        broken = [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in range(0, len(whole), 3)]
        for content in [*broken, b"", whole[:3], whole[:-1], whole[: len(whole) // 2], whole + b"x"]:
            path.write_bytes(content)
            with pytest.raises(CorruptEntryError, match=f"{KEY}.*start again"):
                store.partials.get(KEY)


def test_partial_sums_of_another_key_or_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = partial().to_bytes(str(KEY))
    with pytest.raises(CorruptEntryError, match=f"are those of {KEY}"):
        PartialSums.from_bytes(content, str(example_key("b")))
    monkeypatch.setattr("covpool.store.values.partial_sums.VERSION", 2)
    with pytest.raises(FormatVersionError, match="of version 1, this covpool reads 2; drop them"):
        PartialSums.from_bytes(content, str(KEY))


@pytest.mark.parametrize("name", ["../catalog.sqlite", "", "a/b"])
def test_a_name_that_is_no_digest_reaches_no_file(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path) as store, pytest.raises(ValueError, match="not a key"):
        store.partials.drop(name)
    assert (tmp_path / "catalog.sqlite").is_file()


def test_sums_that_do_not_fit_each_other_are_refused() -> None:
    good = partial()
    with pytest.raises(ValueError, match="do not fit width 7"):
        PartialSums(0, 1, good.sums[:5], good.products, good.staged, "float32")
