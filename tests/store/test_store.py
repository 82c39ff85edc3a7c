"""Store: what is put reads back bit for bit, once per key, and only when it is whole; wherever it lies."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import zarr
from sqlalchemy.engine import Connection

from covpool.store import (
    CapacityError,
    FormatVersionError,
    InvalidMomentsError,
    KeyNotFoundError,
    LocationError,
    Moments,
    MomentsKey,
    Store,
    StoreError,
)
from covpool.store.arrays.rows import encode_row
from covpool.store.arrays.schema import Namespace, Record
from covpool.store.arrays.zarr_arrays import NamespaceArrays
from covpool.store.catalog.entries import Written
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.places import Place


def assert_same_bits(found: Moments, expected: Moments) -> None:
    assert found.count == expected.count
    assert found.dtype == expected.dtype
    assert found.mean.tobytes() == expected.mean.tobytes()
    assert found.second_moment.tobytes() == expected.second_moment.tobytes()


def test_what_is_put_reads_back_bit_for_bit(place: Place) -> None:
    """Every width and dtype, from the store that put it and from one opened later."""
    put = {
        example_key(f"{width} {dtype}"): example_moments("lacZ", width, dtype)
        for width in (1, 2, 7, 8, 129, 512)
        for dtype in ("float32", "float64")
    }
    with place.open() as store:
        for key, moments in put.items():
            store.put(key, moments)
            assert_same_bits(store.get(key), moments)
        assert store.verify() == []
    if place.lasting:
        with place.open() as store:
            for key, moments in put.items():
                assert_same_bits(store.get(key.digest), moments)


def test_two_stores_in_memory_share_nothing() -> None:
    with Store.open("memory://") as one, Store.open("memory://") as other:
        one.put(example_key("a"), example_moments("a"))
        assert example_key("a") not in other


def test_putting_twice_keeps_one_entry_in_its_row(tmp_path: Path) -> None:
    key = example_key("a")
    with Store.open(tmp_path) as store:
        store.put(key, example_moments("a"))
        before = store.entry(key)
        store.put(example_key("b"), example_moments("b"))
        store.put(key, example_moments("a"))
        assert len(store) == 2
        assert store.entry(key).row == before.row
        assert_same_bits(store.get(key), example_moments("a"))
        assert_same_bits(store.get(example_key("b")), example_moments("b"))
    arrays = tmp_path / "arrays" / before.namespace.id
    assert sorted(path.name for path in (arrays / "mean").glob("c*")) == ["c.0.0", "c.1.0"]


def test_every_key_has_a_row_of_its_own(place: Place) -> None:
    with place.open() as store:
        for name in map(str, range(20)):
            store.put(example_key(name), example_moments(name))
        entries = store.catalog.entries()
        assert sorted(entry.row for entry in entries) == list(range(20))
        assert {entry.key for entry in entries} == {example_key(str(i)).digest for i in range(20)}


def test_entries_tell_length_count_and_time(place: Place) -> None:
    key, moments = example_key("lacZ"), example_moments("lacZ")
    with place.open() as store:
        store.put(key, moments)
        entry = store.entry(key)
    assert entry.moments_key == key
    assert (entry.length, entry.count) == (4, moments.count)
    assert entry.created is not None
    assert entry.created.utcoffset() is not None


def test_keys_come_back_whole_in_the_order_of_their_digests(place: Place) -> None:
    wanted = sorted((example_key(name) for name in "abcdef"), key=str)
    with place.open() as store:
        for key in reversed(wanted):
            store.put(key, example_moments(str(key)))
        assert list(store.keys()) == wanted


def test_a_second_store_on_the_place_sees_what_the_first_one_put(place: Place) -> None:
    if not place.lasting:
        pytest.skip("a store in memory is its own")
    with place.open() as first, place.open() as second:
        assert example_key("a") not in second
        first.put(example_key("a"), example_moments("a"))
        assert example_key("a") in second
        assert_same_bits(second.get(example_key("a")), example_moments("a"))
        second.put(example_key("b"), example_moments("b"))
        assert_same_bits(first.get(example_key("b")), example_moments("b"))
        assert first.entry(example_key("a")).row != first.entry(example_key("b")).row


def test_an_unknown_key_is_named_with_the_remedy(place: Place) -> None:
    key = example_key("a")
    with place.open() as store:
        assert key not in store
        with pytest.raises(KeyNotFoundError, match=f"{key}: not in the store; extract it first"):
            store.get(key)


def test_a_full_namespace_is_named_and_hands_out_no_row(place: Place) -> None:
    keys = [example_key(name) for name in "abc"]
    with place.open() as store:
        for key in keys[:2]:
            store.catalog.reserve(key, Namespace(key.recipe, 8, "float32", capacity=2))
        with pytest.raises(CapacityError, match="has handed out all its rows; open a second store"):
            store.put(keys[2], example_moments("c"))
        assert list(store.keys()) == []


def test_a_reserved_row_cannot_be_read(place: Place) -> None:
    key, moments = example_key("a"), example_moments("a")
    with place.open() as store:
        store.catalog.reserve(key, Namespace(key.recipe, moments.width, "float32"))
        assert key not in store
        assert len(store) == 0
        assert list(store.keys()) == []
        with pytest.raises(KeyNotFoundError):
            store.get(key)
        store.put(key, moments)
        assert store.entry(key).row == 1
        assert_same_bits(store.get(key), moments)


def test_other_moments_under_a_key_change_nothing_unless_they_are_to_replace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, also = example_key("a"), list[str]()
    with Store.open(tmp_path) as store:
        store.put(key, example_moments("a"))
        before = store.entry(key)
        store.put(key, example_moments("b"), on_commit=lambda _: also.append("done"))
        assert store.entry(key) == before
        assert_same_bits(store.get(key), example_moments("a"))
    assert (states(tmp_path), also) == (["ready"], ["done"])
    assert "is stored with other bits, which stay" in caplog.text


def test_the_first_of_two_writers_of_other_bits_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found the key missing; the one that ends last is told nothing, and readers see one result."""
    key, real = example_key("a"), NamespaceArrays.write
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:

        def write(arrays: NamespaceArrays, row: int, key: MomentsKey, moments: Moments) -> Record:
            monkeypatch.setattr(NamespaceArrays, "write", real)
            other.put(key, example_moments("other"))
            return real(arrays, row, key, moments)

        monkeypatch.setattr(NamespaceArrays, "write", write)
        store.put(key, example_moments("a"))
        assert_same_bits(store.get(key), example_moments("other"))
    assert sorted(states(tmp_path)) == ["ready", "retired"]


def test_other_moments_under_a_key_take_a_new_row_and_retire_the_old_one(tmp_path: Path) -> None:
    key = example_key("a")
    with Store.open(tmp_path) as store:
        store.put(key, example_moments("a"))
        store.put(key, example_moments("b"), replace=True)
        assert store.entry(key).row == 1
        assert len(store) == 1
        assert_same_bits(store.get(key), example_moments("b"))
    assert states(tmp_path) == ["retired", "ready"]


def test_a_reader_that_was_sent_to_a_row_since_replaced_and_swept_reads_the_new_one(tmp_path: Path) -> None:
    key = example_key("a")
    with Store.open(tmp_path) as store:
        store.put(key, example_moments("a"))
        stale = store.entry(key)
        store.put(key, example_moments("b"), replace=True)
        for path in tmp_path.glob("arrays/*/*/c.0.*"):
            path.unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "entry", lambda _: stale)
            assert_same_bits(store.get(key), example_moments("b"))


def test_a_writer_whose_reservation_was_given_up_is_told_so(tmp_path: Path) -> None:
    key, moments = example_key("a"), example_moments("a")
    with Store.open(tmp_path) as store:
        place = store.catalog.reserve(key, Namespace(key.recipe, moments.width, "float32"))
        _, record = encode_row(place.namespace, key, moments)
        store.catalog.give_up(place)
        with pytest.raises(StoreError, match=r"row 0 was taken for abandoned.*put it again"):
            store.catalog.flip_ready([Written(key, place, record)])
        assert key not in store
        store.put(key, moments)
        with pytest.raises(StoreError, match="given up"):
            store.catalog.flip_ready([Written(key, place, record)])
        assert_same_bits(store.get(key), moments)


def test_a_put_that_is_interrupted_leaves_no_reservation(tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    items = [(example_key(name), example_moments(name)) for name in "ab"]
    with Store.open(tmp_path) as store:
        with pytest.raises(KeyboardInterrupt):
            store.put_many(items, on_commit=interrupt)
        assert len(store) == 0
        assert states(tmp_path) == ["retired", "retired"]
        store.put_many(items)
        assert len(store) == 2


def test_of_several_rows_the_one_given_up_is_named_and_none_becomes_readable(
    tmp_path: Path, database_url: str
) -> None:
    given = {example_key(name): example_moments(name) for name in "abcd"}
    with Store.open(tmp_path, catalog=database_url) as store:
        written = []
        for key, moments in given.items():
            place = store.catalog.reserve(key, Namespace(key.recipe, moments.width, "float32"))
            written.append(Written(key, place, encode_row(place.namespace, key, moments)[1]))
        lost = written[2]
        store.catalog.give_up(lost.place)
        with pytest.raises(StoreError, match=rf"{lost.key}: its reserved row 2 was taken for abandoned"):
            store.catalog.flip_ready(written)
        assert len(store) == 0
        store.catalog.flip_ready([one for one in written if one is not lost])
        assert [one.key in store for one in written] == [True, True, False, True]
        store.put_many(given.items())
        assert_same_bits(store.get(lost.key), given[lost.key])


def test_putting_the_same_again_still_runs_what_shares_its_transaction(tmp_path: Path) -> None:
    seen: list[int] = []
    with Store.open(tmp_path) as store:
        for _ in range(2):
            store.put(
                example_key("a"),
                example_moments("a"),
                on_commit=lambda connection: seen.append(connection.exec_driver_sql("SELECT 1").scalar_one()),
            )
    assert seen == [1, 1]
    assert states(tmp_path) == ["ready"]


def test_nothing_is_readable_when_the_shared_transaction_fails(place: Place) -> None:
    def also(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE beside (x int)")
        raise ZeroDivisionError

    with place.open() as store:
        with pytest.raises(ZeroDivisionError):
            store.put(example_key("a"), example_moments("a"), on_commit=also)
        assert example_key("a") not in store
        assert not sa.inspect(store.database.engine).has_table("beside")


@pytest.mark.parametrize("spoil", ["nan", "inf", "mean", "asymmetric"])
def test_moments_that_are_no_moments_are_not_cached(place: Place, spoil: str) -> None:
    key, moments = example_key("a"), example_moments("a")
    if spoil == "mean":
        moments.mean[0] = np.nan
    else:
        moments.second_moment[1, 2] = {"nan": np.nan, "inf": np.inf, "asymmetric": 9.0}[spoil]
    with place.open() as store:
        with pytest.raises(InvalidMomentsError):
            store.put(key, moments)
        assert key not in store
        assert store.catalog.find(key.digest) is None


def test_a_refused_overwrite_leaves_the_old_moments(place: Place) -> None:
    key, spoilt = example_key("a"), example_moments("b")
    spoilt.second_moment[:] = np.nan
    with place.open() as store:
        store.put(key, example_moments("a"))
        with pytest.raises(InvalidMomentsError):
            store.put(key, spoilt)
        assert_same_bits(store.get(key), example_moments("a"))


def test_a_key_stored_in_one_dtype_is_not_put_in_another(place: Place) -> None:
    key = example_key("a")
    with place.open() as store:
        store.put(key, example_moments("a", dtype="float32"))
        with pytest.raises(InvalidMomentsError, match=r"stored as 8 x float32.*astype"):
            store.put(key, example_moments("a", dtype="float64"))
        assert_same_bits(store.get(key), example_moments("a"))


OTHER_MAJORS = [("3.0", "upgrade covpool"), ("1.0", "export it")]


@pytest.mark.parametrize(("version", "remedy"), OTHER_MAJORS)
def test_arrays_of_another_major_version_are_refused(tmp_path: Path, version: str, remedy: str) -> None:
    Store.open(tmp_path).close()
    group = zarr.open_group(tmp_path / "arrays", mode="r+")
    group.attrs["covpool_format"] = version
    with pytest.raises(FormatVersionError, match=re.escape(str(tmp_path)) + rf".*{version}.*{remedy}"):
        Store.open(tmp_path)


@pytest.mark.parametrize(("version", "remedy"), OTHER_MAJORS)
def test_a_catalog_of_another_major_version_is_refused(tmp_path: Path, version: str, remedy: str) -> None:
    Store.open(tmp_path).close()
    set_catalog_version(tmp_path, version)
    with pytest.raises(FormatVersionError, match=remedy):
        Store.open(tmp_path)


def test_another_minor_version_is_read(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put(example_key("a"), example_moments("a"))
    zarr.open_group(tmp_path / "arrays", mode="r+").attrs["covpool_format"] = "2.7"
    set_catalog_version(tmp_path, "2.7")
    with Store.open(tmp_path) as store:
        assert_same_bits(store.get(example_key("a")), example_moments("a"))


def test_an_unknown_kind_of_location_is_refused() -> None:
    with pytest.raises(LocationError, match=r"ftp://example\.org/x.*directory or memory.*or s3"):
        Store.open("ftp://example.org/x")


def test_a_location_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    for location in (path, path / "below"):
        with pytest.raises(LocationError, match="writable directory"):
            Store.open(location)
    assert path.read_text() == "mine"


def test_directories_are_made_on_the_way(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "b") as store:
        store.put(example_key("a"), example_moments("a"))
    assert (tmp_path / "a" / "b" / CATALOG_FILE).is_file()


def states(directory: Path) -> list[str]:
    connection = sqlite3.connect(directory / CATALOG_FILE)
    found = connection.execute("SELECT state FROM entries ORDER BY row").fetchall()
    connection.close()
    return [state for (state,) in found]


def set_catalog_version(directory: Path, version: str) -> None:
    connection = sqlite3.connect(directory / CATALOG_FILE)
    connection.execute("UPDATE store_meta SET value = ? WHERE name = 'format'", (version,))
    connection.commit()
    connection.close()


def test_many_become_readable_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [(example_key(name), example_moments(name)) for name in "abc"]
    seen: list[list[bool]] = []
    with Store.open(tmp_path) as store:
        store.put(*items[1])
        before = store.entry(items[1][0])
        with pytest.raises(InvalidMomentsError):
            store.put_many([*items, (example_key("x"), Moments(8, np.full(8, np.nan), np.eye(8)))])
        assert [key in store for key, _ in items] == [False, True, False]
        write = NamespaceArrays.write

        def fails_late(arrays: NamespaceArrays, row: int, key: MomentsKey, moments: Moments) -> object:
            seen.append([one in store for one, _ in items])
            if len(seen) == 2:
                raise StoreError("disk full")
            return write(arrays, row, key, moments)

        with monkeypatch.context() as patched:
            patched.setattr(NamespaceArrays, "write", fails_late)
            with pytest.raises(StoreError, match="disk full"):
                store.put_many(items)
        assert seen == [[False, True, False]] * 2
        assert store.verify() == []
        # Given twice, the latter counts; what is there already keeps its row.
        store.put_many([(items[0][0], items[2][1]), *items], replace=True)
        for key, moments in items:
            assert store.get(key).second_moment.tobytes() == moments.second_moment.tobytes()
        assert store.entry(items[1][0]) == before
        assert store.verify() == []
