"""An outage is no damage: what cannot be reached now is neither retired nor removed."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from covpool.store import CorruptEntryError, InvalidMomentsError, Moments, StorageError, Store
from covpool.store.errors import CatalogError, OutdatedCatalogError
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.healing import heal
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.outages import is_outage, probe
from covpool.store.testing import example_key, example_moments
from tests.mounts import mounted, remount
from tests.store.tools import NAMES, assert_whole, backup_of, fill, restore, soon


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    """This process has as many open files as it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, before[1])
        )
        try:
            while True:
                opened.enter_context(Path(os.devnull).open("rb"))
        except OSError:
            pass
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files_retire_and_remove_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        path = next((tmp_path / "arrays").glob("*/mean/c.0.0"))
        with no_file_can_be_opened():
            with pytest.raises(StorageError) as met:
                store.get(example_key("a"))
            assert is_outage(met.value)
            with pytest.raises(StorageError):
                heal(store, example_key("a").digest)
            with pytest.raises(StorageError):
                store.put(example_key("new"), example_moments("new", 8))
        assert path.exists()
        assert_whole(store, NAMES)
        collect(store, age=soon())
        assert store.verify() == []


def test_a_full_disk_is_an_outage_until_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "store", "size=2m") as folder, Store.open(folder) as store:
        fill(store, NAMES)
        probe(store)
        ballast = folder / "ballast"
        with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(StorageError, match="No space left"):
            probe(store)
        with pytest.raises(Exception, match=r"No space left|disk is full") as met:
            fill(store, ["wide"], 128)
        assert is_outage(met.value)
        assert_whole(store, NAMES)
        ballast.unlink()
        probe(store)
        fill(store, ["wide"], 128)
        assert store.verify() == []
        assert not list(folder.glob("arrays/*.partial"))


def test_a_read_only_file_system_is_an_outage_and_is_read(tmp_path: Path) -> None:
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    with (
        mounted(tmp_path / "store", "size=8m") as folder,
        Store.open(folder, catalog=catalog) as store,
    ):
        fill(store, NAMES)
        remount(folder, "ro")
        with pytest.raises(StorageError, match="Read-only"):
            probe(store)
        # A namespace of its own: arrays that cannot be made are not damaged either.
        with pytest.raises(StorageError, match="Read-only"):
            fill(store, ["wider"], 16)
        assert_whole(store, NAMES)
        remount(folder, "rw")
        fill(store, ["wider"], 16)
        assert store.verify() == []


def test_a_store_that_was_outdated_is_written_again_after_a_rebuild_elsewhere(
    tmp_path: Path, database_url: str
) -> None:
    with Store.open(tmp_path, catalog=database_url) as running:
        fill(running, NAMES[:4])
        backup = backup_of(running)
        fill(running, NAMES[4:])
        restore(database_url, backup)
        with pytest.raises(OutdatedCatalogError) as met:
            fill(running, ["new"])
        assert is_outage(met.value)
        with pytest.raises(OutdatedCatalogError):
            probe(running)
        with Store.open(tmp_path, catalog=database_url) as other:
            rebuild(other)
        probe(running)
        fill(running, ["new"])
        assert_whole(running, [*NAMES, "new"])


def test_bad_input_and_damage_are_no_outage(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        whole = example_moments("x", 8)
        broken = Moments(whole.count, whole.mean, whole.second_moment * float("nan"))
        with pytest.raises(InvalidMomentsError) as refused:
            store.put(example_key("x"), broken)
        next((tmp_path / "arrays").glob("*/mean/c.0.0")).unlink()
        with pytest.raises(CorruptEntryError) as damaged:
            store.get(example_key("a"))
    assert not is_outage(refused.value)
    assert not is_outage(damaged.value)


def test_a_database_that_refuses_what_it_is_asked_is_no_outage(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        fill(store, NAMES)
        with store.database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE entries RENAME TO gone")
        for act in (store.get, store.entry):
            with pytest.raises(CatalogError, match="entries") as met:
                act(example_key("a"))
            assert not is_outage(met.value)
