"""Unsteady storage and clocks: what cannot be read now is not damaged, and nothing is lost or goes back."""

import errno
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from covpool.store import StorageError, Store, StoreError
from covpool.store.catalog import copies, ledger
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance import compact as compacting
from covpool.store.maintenance import gc
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.maintenance.verify import verify
from covpool.store.storage.buckets import Bucket
from covpool.store.testing import example_key, example_moments
from tests.s3 import S3Server
from tests.store.tools import NAMES, assert_whole, backup_of, fill, namespace_of, restore, soon


def is_second(store: Store, name: str) -> bool:
    return store.get(example_key(name)).mean.tobytes() == example_moments("second").mean.tobytes()


@contextmanager
def no_more_files() -> Iterator[None]:
    """The process may open no file beyond those it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_without_files_left_takes_nothing_for_damaged(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("second"), replace=True)
        entry = store.entry(example_key("a"))
        arrays = store.arrays_of(entry.place)
        with no_more_files():
            with pytest.raises(StorageError, match=r"Too many open files.*try again"):
                arrays.read(entry.row, entry.key)
            with pytest.raises(StorageError):
                arrays.whole(entry.row)
        assert is_second(store, "a")


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_row_that_cannot_be_read_now_gives_way_to_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, compacted: bool
) -> None:
    """While the file server is away gc and rebuild change nothing that is read."""
    with Store.open(tmp_path) as store:
        store.put(example_key("a"), example_moments("first"))
        store.put(example_key("a"), example_moments("second"), replace=True)
        if compacted:
            compact(store, namespace_of(store))
        for tool in (lambda: collect(store, age=soon()), lambda: rebuild(store)):
            with monkeypatch.context() as patch:
                fails_to_open(patch, "/compacted.1/" if compacted else "/c.1.", error)
                try:
                    tool()
                except StorageError as refused:
                    assert "try again" in str(refused)
            assert is_second(store, "a")
    with Store.open(tmp_path) as store:
        assert is_second(store, "a")
        assert [one for one in store.verify() if one.key] == []


def fails_to_open(patch: pytest.MonkeyPatch, part: str, error: int) -> None:
    """Reading any object whose path has `part` fails."""
    real: Callable[..., Any] = open

    def broken(path: Any, *arguments: Any, **named: Any) -> Any:
        if part in str(path) and "/c." in str(path):
            raise OSError(error, os.strerror(error), str(path))
        return real(path, *arguments, **named)

    patch.setattr("builtins.open", broken)
    patch.setattr("io.open", broken)


@pytest.mark.parametrize("call", ["link", "replace"])
def test_an_answer_that_was_lost_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """NFS: the server did it, and was asked again: "is there already" (link), "is not there" (rename)."""
    real = getattr(os, call)

    def twice(source: Any, target: Any) -> None:
        real(source, target)
        # What zarr writes itself is refused, and done again by whoever asks again.
        if not str(target).endswith("zarr.json"):
            real(source, target)

    monkeypatch.setattr(os, call, twice)
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=4)
        collect(store, age=soon())
        assert_whole(store, NAMES)
        assert store.verify() == []


def test_a_file_that_is_in_use_and_leaves_another_name_is_in_nobodys_way(tmp_path: Path) -> None:
    """NFS keeps a removed file that somebody reads as .nfs…, in the folder that should go."""
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        for folder in tmp_path.glob("arrays/*/mean"):
            (folder / ".nfs0000000000a1b2c300000001").write_bytes(b"removed")
        compact(store, namespace_of(store), shard_rows=4)
        collect(store, age=soon())
        rebuild(store)
        assert_whole(store, NAMES)
        assert store.verify() == []


class Clock(datetime):
    """The time, shifted."""

    shift = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.shift


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_is_set_forward_or_back_costs_no_key(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """In the middle of puts, a compaction and a sweep; and put right again afterwards."""
    import covpool.store.catalog.catalog as catalog

    for module in (catalog, copies, gc, ledger, compacting):
        monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(Clock, "shift", timedelta())
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("second"), replace=True)
        monkeypatch.setattr(compacting, "ATTEND_S", 0.0)

        def progress(done: int, total: int) -> None:
            Clock.shift = timedelta(days=days) if done % 2 else timedelta()
            with Store.open(tmp_path, catalog=database_url) as other:
                collect(other)

        for every in (False, True):
            try:
                compact(store, namespace_of(store), shard_rows=2, every=every, progress=progress)
            except StoreError as refused:
                assert "given up" in str(refused)
        for shift in (days, 0, -days, 0):
            Clock.shift = timedelta(days=shift)
            fill(store, [f"at{shift}"])
            for age in (timedelta(days=1), timedelta(0)):
                collect(store, age=age)
            assert_whole(store, [*NAMES[1:], f"at{shift}"])
            assert is_second(store, "a")
        Clock.shift = timedelta()
        assert [one for one in store.verify() if one.key] == []


def test_a_listing_that_lags_behind_hides_and_kills_nothing(
    s3: S3Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects written lately are in no listing yet, and removed ones still are."""
    location = f"s3://{s3.new_bucket()}/genes"
    real, stale = Bucket.list_prefix, list[str]()

    async def lagging(self: Bucket, prefix: str) -> AsyncIterator[str]:
        for path in [one for one in stale if one.startswith(prefix)]:
            yield path

    async def listed(bucket: Bucket) -> list[str]:
        return [path async for path in real(bucket, "arrays/")]

    with Store.open(location, catalog=postgres_url) as store:
        fill(store, NAMES[:5])
        assert isinstance(store.storage, Bucket)
        from zarr.core.sync import sync

        stale += sync(listed(store.storage))
        backup = backup_of(store)
        fill(store, NAMES[5:])
        store.put(example_key("a"), example_moments("second"), replace=True)
        monkeypatch.setattr(Bucket, "list_prefix", lagging)
        for _ in range(2):
            collect(store, age=soon())
            compact(store, namespace_of(store), shard_rows=2)
            rebuild(store)
            assert_whole(store, NAMES[1:])
            assert is_second(store, "a")
    # With an older catalog, and a listing as old: what it hides is not written over.
    restore(postgres_url, backup)
    with Store.open(location, catalog=postgres_url, lost_catalog=True) as store:
        rebuild(store)
        with suppress(OutdatedCatalogError):
            fill(store, ["new"])
        monkeypatch.setattr(Bucket, "list_prefix", real)
        rebuild(store)
        fill(store, ["new"])
        assert_whole(store, [*NAMES[1:], "new"])
        assert is_second(store, "a")
        assert [one for one in verify(store) if one.key] == []


def test_the_times_of_entries_are_utc(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ["a"])
        created = store.entry(example_key("a")).created
        assert created is not None
        assert abs(created - datetime.now(UTC)) < timedelta(minutes=1)
