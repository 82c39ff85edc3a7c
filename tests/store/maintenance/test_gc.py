"""gc: removes what is of no use, and nothing that anybody may still read or flip to ready."""

import os
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from covpool.store import Store, StoreError
from covpool.store.arrays.rows import encode_row
from covpool.store.catalog.entries import Written
from covpool.store.errors import OutdatedCatalogError
from covpool.store.maintenance.gc import collect
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.testing import example_key, example_moments
from tests.store.places import Place
from tests.store.tools import NAMES, assert_whole, fill, namespace_of, soon


def test_a_clean_store_keeps_everything(place: Place) -> None:
    with place.open() as store:
        fill(store, NAMES)
        assert set(asdict(collect(store, age=soon())).values()) == {0}
        assert_whole(store, NAMES)


def test_a_replaced_row_is_removed_when_it_is_old(place: Place) -> None:
    with place.open() as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("other"), replace=True)
        assert collect(store).retired == 0, "a reader may be on its way to it"
        assert collect(store, age=soon(), dry_run=True).retired == 1
        assert collect(store, age=soon()).retired == 1
        assert collect(store, age=soon()).retired == 0
        assert store.get(example_key("a")).mean.tobytes() == example_moments("other").mean.tobytes()
        assert_whole(store, NAMES[1:])
        assert store.verify() == []
        assert not [path for path in store.objects.below("arrays") if "/c.0." in path]


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        store.put(example_key("a"), example_moments("other"), replace=True)
        store.catalog.reserve(example_key("x"), namespace_of(store))
        before = files(tmp_path)
        collect(store, age=soon(), dry_run=True)
        assert files(tmp_path) == before
        swept = collect(store, age=soon())
        assert (swept.reserved, swept.retired) == (1, 1)
        assert files(tmp_path) != before


def test_a_young_reservation_is_left_alone_and_its_writer_goes_on(place: Place) -> None:
    key, moments = example_key("x"), example_moments("x")
    with place.open() as store:
        fill(store, NAMES)
        where = store.catalog.reserve(key, namespace_of(store))
        row, record = encode_row(where.namespace, key, moments)
        for array in ("record", "mean", "second_moment"):
            shape = ".0.0" if array == "second_moment" else ".0"
            path = f"arrays/{where.namespace.id}/{array}/c.{where.row}{shape}"
            store.objects.write(path, getattr(row, array))
        assert set(asdict(collect(store)).values()) == {0}
        store.catalog.flip_ready([Written(key, where, record)])
        assert_whole(store, [*NAMES, "x"])


def test_a_writer_slower_than_the_age_is_refused_and_puts_again(place: Place) -> None:
    key, moments = example_key("x"), example_moments("x")
    with place.open() as store:
        fill(store, NAMES)
        where = store.catalog.reserve(key, namespace_of(store))
        assert collect(store, age=soon()).reserved == 1
        with pytest.raises(StoreError, match="put it again"):
            store.catalog.flip_ready([Written(key, where, encode_row(where.namespace, key, moments)[1])])
        store.put(key, moments)
        assert store.entry(key).row == where.row + 1, "no row is handed out twice"
        assert_whole(store, [*NAMES, "x"])


def test_chunks_a_late_writer_left_after_its_row_was_swept_are_removed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        where = store.catalog.reserve(example_key("x"), namespace_of(store))
        collect(store, age=soon())
        late = tmp_path / "arrays" / where.namespace.id / "mean" / f"c.{where.row}.0"
        late.write_bytes(b"late")
        (problem,) = store.verify()
        assert f"1 row(s) that no entry of the catalog claims ({where.row})" in problem.message
        assert collect(store).unclaimed == 1
        assert not late.exists()
        assert store.verify() == []


def test_with_a_restored_catalog_nothing_is_swept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES[:4])
    backup = (tmp_path / CATALOG_FILE).read_bytes()
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
    (tmp_path / CATALOG_FILE).write_bytes(backup)
    before = files(tmp_path)
    with Store.open(tmp_path) as store, pytest.raises(OutdatedCatalogError, match="covpool store rebuild"):
        collect(store, age=soon())
    assert files(tmp_path) == before


def test_old_unfinished_files_are_removed_and_young_ones_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, NAMES)
        folder = tmp_path / "arrays" / namespace_of(store).id / "mean"
        old, young = folder / "c.1.old.partial", folder / "c.1.young.partial"
        for path in (old, young):
            path.write_bytes(b"half")
        two_days_ago = time.time() - timedelta(days=2).total_seconds()
        os.utime(old, (two_days_ago, two_days_ago))
        (problem,) = store.verify()
        assert "c.1.old.partial: left by a writer that died" in problem.message
        assert collect(store).partial == 1
        assert not old.exists()
        assert young.exists()


def test_partial_sums_of_a_ready_key_are_removed_and_others_kept(place: Place) -> None:
    ready, other = example_key("a"), example_key("unfinished")
    with place.open() as store:
        fill(store, NAMES)
        for key in (ready, other):
            store.objects.write(f"partials/{key}", b"sums")
        (problem,) = store.verify()
        assert problem.key == ready.digest
        assert collect(store).sums == 1
        assert store.objects.read(f"partials/{ready}") is None
        assert store.objects.read(f"partials/{other}") == b"sums"
        assert store.verify() == []


def files(directory: Path) -> set[str]:
    return {str(path) for path in directory.glob("arrays/**/*") if path.is_file()}
