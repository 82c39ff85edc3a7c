"""Backup: what a store held at one moment, whole, while others read, write, compact and sweep."""

import threading
from pathlib import Path

import pytest

from covpool.store import LocationError, Name, Store
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.testing import example_key, example_moments
from tests.postgres import PostgresServer
from tests.store.places import Place
from tests.store.tools import NAMES, assert_whole, fill, namespace_of, soon


def into(location: Path, catalog: str | None = None) -> Store:
    return Store.open(location, catalog=catalog, lost_catalog=True)


def test_a_backup_holds_every_key_and_name_and_so_does_what_is_restored_from_it(
    place: Place, tmp_path: Path, postgres: PostgresServer
) -> None:
    with postgres.database() as url:
        backed_up_and_restored(place, tmp_path, url)


def backed_up_and_restored(place: Place, tmp_path: Path, postgres_url: str) -> None:
    with place.open() as store, into(tmp_path / "backup") as backup:
        fill(store, NAMES)
        store.names.add([Name(name="thrA", key=example_key("a"), kind="symbol", assembly="ASM584v2")])
        compact(store, namespace_of(store), shard_rows=4)
        fill(store, ["later"])
        done = back_up(store, backup)
        assert (done.entries, done.problems) == (len(NAMES) + 1, ())
    with Store.open(tmp_path / "backup") as backup, into(tmp_path / "restored", postgres_url) as restored:
        assert_whole(backup, [*NAMES, "later"])
        assert backup.verify() == []
        back_up(backup, restored)
    with Store.open(tmp_path / "restored", catalog=postgres_url) as restored:
        assert_whole(restored, [*NAMES, "later"])
        assert [one.entry.key for one in restored.names.find("thrA")] == [example_key("a").digest]
        assert restored.verify() == []
        fill(restored, ["new"])
        assert_whole(restored, ["new"])


def test_a_second_backup_copies_only_what_is_new(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        with into(tmp_path / "backup") as backup:
            back_up(store, backup)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("backup/arrays/**/c.*")}
        fill(store, ["new"])
        store.put(example_key("a"), example_moments("other"), replace=True)
        with into(tmp_path / "backup") as backup:
            back_up(store, backup)
            assert_whole(backup, [*NAMES[1:], "new"])
            assert backup.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
        assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_backup_under_load_is_whole(tmp_path: Path, database_url: str) -> None:
    """Keys put before it began are in it, whatever compacting, sweeping and putting go on meanwhile."""
    stop, wrong = threading.Event(), list[BaseException]()

    def busy() -> None:
        try:
            with Store.open(tmp_path / "store", catalog=database_url) as other:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    fill(other, [f"meanwhile{turn}"])
                    other.put(example_key("changing"), example_moments(f"changing{turn}"), replace=True)
                    compact(other, namespace_of(other), shard_rows=4, every=turn % 3 == 0)
                    collect(other, age=soon())
        except BaseException as error:
            wrong.append(error)

    with Store.open(tmp_path / "store", catalog=database_url) as store:
        fill(store, NAMES)
        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for number in range(4):
                with into(tmp_path / f"backup{number % 2}") as backup:
                    assert back_up(store, backup).problems == ()
        finally:
            stop.set()
            thread.join()
        assert wrong == []
    for number in range(2):
        with Store.open(tmp_path / f"backup{number}") as backup:
            assert backup.outdated is None
            assert_whole(backup, NAMES)
            assert backup.verify() == []


def test_another_store_is_not_written_into(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one") as one, Store.open(tmp_path / "other") as other:
        fill(one, NAMES)
        other.put(example_key("x"), example_moments("x", 9))
    with (
        Store.open(tmp_path / "one") as one,
        into(tmp_path / "other") as other,
        pytest.raises(LocationError, match="back up to a new place"),
    ):
        back_up(one, other)


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store, into(tmp_path / "backup") as backup:
        fill(store, NAMES)
        row = store.entry(example_key("b")).row
        (path,) = tmp_path.glob(f"store/arrays/*/mean/c.{row}.0")
        path.write_bytes(b"damaged")
        done = back_up(store, backup)
        assert [problem.key for problem in done.problems] == [example_key("b").digest]
        assert_whole(backup, [name for name in NAMES if name != "b"])
