"""A catalog older than its arrays is noticed, hides and kills nothing, and is brought up by a rebuild."""

import shutil
from pathlib import Path

import pytest

from covpool.store import LocationError, Store
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.standing import STORE_FILE
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.tools import NAMES, assert_whole, backup_of, fill, namespace_of, restore, soon


def test_a_backup_from_before_a_compaction_costs_no_key(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        backup = backup_of(store)
        compact(store, namespace_of(store), shard_rows=4)
        collect(store, age=soon())
    restore(database_url, backup)
    with Store.open(tmp_path, catalog=database_url) as store:
        with pytest.raises(OutdatedCatalogError, match="covpool store rebuild"):
            collect(store, age=soon())
        assert rebuild(store).problems == ()
        assert_whole(store, NAMES)
        for _ in range(2):
            collect(store, age=soon())
            assert_whole(store, NAMES)
        assert store.verify() == []


def test_rows_handed_out_after_a_backup_are_not_written_over(tmp_path: Path, database_url: str) -> None:
    later = [f"later{number}" for number in range(20)]
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        backup = backup_of(store)
        fill(store, later)
    restore(database_url, backup)
    with Store.open(tmp_path, catalog=database_url) as store:
        assert store.outdated is not None
        assert_whole(store, NAMES)
        with pytest.raises(OutdatedCatalogError):
            fill(store, ["new"])
        rebuild(store)
        fill(store, ["new"])
        assert_whole(store, [*NAMES, *later, "new"])
    with Store.open(tmp_path, catalog=database_url) as store:
        assert store.outdated is None
        assert store.verify() == []


def test_a_catalog_restored_under_a_running_writer_costs_no_row(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as running:
        fill(running, NAMES[:4])
        backup = backup_of(running)
        fill(running, NAMES[4:])
        restore(database_url, backup)
        with pytest.raises(OutdatedCatalogError, match="nothing was cached or replaced"):
            fill(running, ["new"])
        with pytest.raises(OutdatedCatalogError):
            collect(running, age=soon())
    with Store.open(tmp_path, catalog=database_url) as store:
        assert store.outdated is not None, "whoever comes next knows"
        rebuild(store)
        assert_whole(store, NAMES)
        fill(store, ["new"])
        collect(store, age=soon())
        assert_whole(store, [*NAMES, "new"])


def test_the_newer_of_two_rows_is_read_after_a_restore(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        backup = backup_of(store)
        store.put(example_key("a"), example_moments("other"), replace=True)
    restore(database_url, backup)
    with Store.open(tmp_path, catalog=database_url) as store:
        rebuild(store)
        assert store.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
        assert_whole(store, NAMES[1:])


def test_gc_does_not_remove_the_last_row_that_a_key_can_be_read_from(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("other"), replace=True)
        row = store.entry(example_key("a")).row
        (path,) = tmp_path.glob(f"arrays/*/second_moment/c.{row}.0.0")
        path.write_bytes(b"damaged")
        swept = collect(store, age=soon())
        assert (swept.salvaged, swept.retired) == (1, 0)
        assert_whole(store, NAMES)


def test_a_copy_of_a_store_without_its_write_ahead_log_is_noticed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, NAMES)
        left_out = shutil.ignore_patterns("*-wal", "*-shm")
        store.database.close()
        with Store.open(tmp_path / "store") as other:
            fill(other, ["new"])
            shutil.copytree(tmp_path / "store", tmp_path / "copy", ignore=left_out)
    with Store.open(tmp_path / "copy") as copy:
        assert copy.outdated is not None
        rebuild(copy)
        assert_whole(copy, [*NAMES, "new"])
        assert copy.verify() == []


def test_the_catalog_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with Store.open(tmp_path / name) as store:
            fill(store, NAMES)
    shutil.copy(tmp_path / "one" / CATALOG_FILE, tmp_path / "other" / CATALOG_FILE)
    with pytest.raises(LocationError, match="the catalog is that of"):
        Store.open(tmp_path / "other")


def test_two_copies_of_a_store_used_in_turn_are_each_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one") as store:
        fill(store, NAMES)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for number in range(3):
        for name in ("one", "two"):
            with Store.open(tmp_path / name) as store:
                fill(store, [f"{name}{number}"])
                assert store.verify() == []
    for name in ("one", "two"):
        with Store.open(tmp_path / name) as store:
            assert_whole(store, [*NAMES, *(f"{name}{number}" for number in range(3))])


def test_two_copies_of_the_arrays_used_in_turn_with_one_catalog_are_noticed(
    tmp_path: Path, postgres_url: str
) -> None:
    """Each would lack the rows of the other, and sweep by what the other has."""
    one, two = tmp_path / "one", tmp_path / "two"
    with Store.open(one, catalog=postgres_url) as store:
        fill(store, NAMES)
    shutil.copytree(one, two)
    with Store.open(two, catalog=postgres_url) as store:
        fill(store, ["two"])
        store.put(example_key("a"), example_moments("other"), replace=True)
    with Store.open(one, catalog=postgres_url) as store:
        assert store.outdated is not None
        assert "the arrays are older" in store.outdated
        assert_whole(store, NAMES[1:])
        with pytest.raises(OutdatedCatalogError):
            collect(store, age=soon())
    with Store.open(two, catalog=postgres_url) as store:
        assert store.outdated is None
        assert_whole(store, [*NAMES[1:], "two"])
        assert store.verify() == []


def test_processes_that_die_between_the_two_halves_of_opening_cost_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        with store.database.writing() as connection:
            connection.exec_driver_sql("UPDATE store_meta SET value = '5' WHERE name = 'serial'")
    with Store.open(tmp_path) as store:
        assert store.outdated is None
        assert_whole(store, NAMES)


def test_a_damaged_store_file_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
    (tmp_path / STORE_FILE).write_bytes(b"{")
    with pytest.raises(LocationError, match=rf"{STORE_FILE} is damaged"):
        Store.open(tmp_path)


def test_a_store_of_before_gets_its_identity_when_it_is_opened(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        with store.database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM store_meta WHERE name IN ('store', 'serial')")
    (tmp_path / STORE_FILE).unlink()
    with Store.open(tmp_path) as store:
        assert store.outdated is None
        assert_whole(store, NAMES)
        fill(store, ["new"])
    assert (tmp_path / STORE_FILE).is_file()
