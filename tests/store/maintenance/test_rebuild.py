"""Rebuild: a lost catalog comes back from the arrays alone."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from covpool.store import LocationError, Store
from covpool.store.database.database import Database
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.places import Place
from tests.store.tools import NAMES, assert_whole, fill, namespace_of, soon


def lose(place: Place) -> None:
    """The catalog is gone: its file, or every table of its database."""
    if place.catalog is None:
        for path in Path(place.location).glob(f"{CATALOG_FILE}*"):
            path.unlink()
        return
    database = Database.open(place.catalog)
    found = sa.MetaData()
    found.reflect(database.engine)
    found.drop_all(database.engine)
    database.close()


def rows(store: Store) -> set[tuple[Any, ...]]:
    """All that a catalog says of its entries, but for the times, which only it knows."""
    entries = store.catalog.entries()
    return {(e.key, e.place, e.sequence, e.length, e.count, e.error, e.checksum, e.state) for e in entries}


def reopened(place: Place) -> Store:
    return Store.open(place.location, catalog=place.catalog, lost_catalog=True)


@pytest.fixture
def lasting(place: Place) -> Place:
    if not place.lasting:
        pytest.skip("a catalog in memory is not lost by itself")
    return place


def test_the_rebuilt_catalog_equals_the_lost_one(lasting: Place) -> None:
    with lasting.open() as store:
        fill(store, NAMES)
        store.put(example_key("float64"), example_moments("float64", dtype="float64"))
        before = rows(store)
    lose(lasting)
    with reopened(lasting) as store:
        done = rebuild(store)
        assert (done.ready, done.superseded, done.known, done.problems) == (len(NAMES) + 1, 0, 0, ())
        assert rows(store) == before
        assert_whole(store, NAMES)
        assert store.verify() == []
        assert rebuild(store).known == len(NAMES) + 1
    with lasting.open() as store:
        fill(store, ["new"])
        assert store.entry(example_key("new")).row == len(NAMES), "no row is handed out again"


def test_arrays_without_a_catalog_are_not_opened_for_writing(lasting: Place) -> None:
    with lasting.open() as store:
        fill(store, NAMES)
    lose(lasting)
    for _ in range(2):
        with pytest.raises(LocationError, match="covpool store rebuild"):
            lasting.open()


def test_an_interrupted_rebuild_goes_on(lasting: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with lasting.open() as store:
        fill(store, NAMES)
        before = rows(store)
    lose(lasting)
    monkeypatch.setattr("covpool.store.maintenance.rebuild._BATCH", 2)
    with reopened(lasting) as store, pytest.raises(KeyboardInterrupt):
        rebuild(store, progress=stop)
    with lasting.open() as store, pytest.raises(OutdatedCatalogError):
        fill(store, ["new"])
    with reopened(lasting) as store:
        done = rebuild(store)
        assert (done.known, done.ready) == (4, len(NAMES) - 4)
        assert rows(store) >= before
    with lasting.open() as store:
        fill(store, ["new"])
        assert store.entry(example_key("new")).row == len(NAMES), "no row is handed out again"
        assert_whole(store, [*NAMES, "new"])


def test_a_damaged_row_is_named_and_not_entered(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        row = store.entry(example_key("b")).row
    for path in tmp_path.glob(f"{CATALOG_FILE}*"):
        path.unlink()
    (path,) = tmp_path.glob(f"arrays/*/second_moment/c.{row}.0.0")
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / path.parent.parent / "record" / "c.0.0").unlink()
    with Store.open(tmp_path, lost_catalog=True) as store:
        done = rebuild(store)
        assert done.ready == len(NAMES) - 2
        assert sorted(bool(problem.key) for problem in done.problems) == [False, False]
        assert any(example_key("b").digest in problem.message for problem in done.problems)
        assert any("record is missing" in problem.message for problem in done.problems)
        assert_whole(store, [name for name in NAMES if name not in "ab"])


def test_of_two_rows_of_a_key_the_newer_one_is_read(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("other"), replace=True)
        before = rows(store)
    for path in tmp_path.glob(f"{CATALOG_FILE}*"):
        path.unlink()
    with Store.open(tmp_path, lost_catalog=True) as store:
        done = rebuild(store)
        assert (done.ready, done.superseded) == (len(NAMES), 1)
        assert rows(store) == before


@pytest.mark.parametrize("swept", [False, True])
def test_compacted_copies_and_what_was_put_after_them_are_found(tmp_path: Path, swept: bool) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        compact(store, namespace_of(store), shard_rows=4)
        fill(store, ["new"])
        store.put(example_key("a"), example_moments("other"), replace=True)
        if swept:
            collect(store, age=soon())
        before = rows(store)
    for path in tmp_path.glob(f"{CATALOG_FILE}*"):
        path.unlink()
    with Store.open(tmp_path, lost_catalog=True) as store:
        rebuild(store)
        assert rows(store) == before
        assert_whole(store, [*NAMES[1:], "new"])
        assert store.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
        assert store.verify() == []


def test_a_row_in_the_folder_of_another_recipe_is_not_entered(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ["a"])
        store.put(example_key("b"), example_moments("b", dtype="float64"))
    for path in tmp_path.glob(f"{CATALOG_FILE}*"):
        path.unlink()
    folders = sorted(path for path in (tmp_path / "arrays").iterdir() if path.is_dir())
    names = [folder.name for folder in folders]
    folders[0].rename(tmp_path / "arrays" / "x")
    folders[1].rename(folders[0])
    (tmp_path / "arrays" / "x").rename(folders[1])
    with Store.open(tmp_path, lost_catalog=True) as store:
        done = rebuild(store)
        assert done.ready == 0
        assert all("holds the metadata of" in problem.message for problem in done.problems)
        assert len(done.problems) == len(names)


def test_a_catalog_that_lacks_rows_gets_them_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        before = rows(store)
    connection = sqlite3.connect(tmp_path / CATALOG_FILE)
    connection.execute("DELETE FROM entries WHERE row IN (1, 3)")
    connection.commit()
    connection.close()
    with Store.open(tmp_path) as store:
        (problem,) = store.verify()
        assert "2 row(s) that no entry of the catalog claims (1, 3)" in problem.message
        assert rebuild(store).ready == 2
        assert rows(store) == before
        assert store.verify() == []
