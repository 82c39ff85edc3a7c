"""Consolidated metadata: what a reader that cannot list is told is what zarr itself would list, as of now."""

import asyncio
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zarr

from covpool.store import CorruptEntryError, Store
from covpool.store.maintenance.compact import compact
from covpool.store.maintenance.gc import collect
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import MomentsKey
from tests.store.places import Place
from tests.store.tools import fill, namespace_of, soon

ARRAYS = ["mean", "record", "second_moment"]


def group(store: Store, path: str = "") -> Any:
    found = asyncio.run(store.files.group(f"{path}/zarr.json".lstrip("/")))
    return None if found is None else json.loads(found)


def members(store: Store, path: str = "") -> Any:
    return group(store, path)["consolidated_metadata"]["metadata"]


def other(layer: str) -> MomentsKey:
    key = example_key("a")
    return replace(key, recipe=replace(key.recipe, layer=layer))


def test_members_are_listed_at_every_place_and_those_that_come_later_too(place: Place) -> None:
    with place.open() as store:
        assert members(store) == {}
        fill(store, ["a", "b"])
        namespace = namespace_of(store)
        name, copy = namespace.id, f"{namespace.id}/compacted.1"
        assert list(members(store, name)) == ARRAYS
        store.put(other("layer.1"), example_moments("a"))
        compact(store, namespace, shard_rows=4)
        assert list(members(store, name)) == [
            "compacted.1",
            *(f"compacted.1/{one}" for one in ARRAYS),
            *ARRAYS,
        ]
        assert list(members(store, copy)) == ARRAYS
        namespaces = {entry.namespace.id for entry in store.catalog.entries()}
        assert len(namespaces) == 2
        assert {path for path in members(store) if "/" not in path} == namespaces


def test_they_are_what_zarr_would_write_over_the_same_files(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        fill(store, ["a", "b", "c"])
        name = namespace_of(store).id
        compact(store, namespace_of(store), shard_rows=2)
        store.put(other("layer.1"), example_moments("a"))
        found = {path: group(store, path) for path in ("", name, f"{name}/compacted.1")}
    for path, ours in found.items():
        copy = tmp_path / f"copy {len(path)}"
        shutil.copytree(tmp_path / "store" / "arrays", copy)
        with warnings.catch_warnings():
            # That they are no part of the Zarr specification yet, and that plan.json is none of Zarr's.
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(copy / path))
        theirs = json.loads((copy / path / "zarr.json").read_text())
        assert ours["attributes"] == theirs["attributes"]
        assert ours["consolidated_metadata"] == theirs["consolidated_metadata"], path


def test_no_copy_is_listed_that_must_not_be_read(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ["a", "b"])
        name = namespace_of(store).id
        compact(store, namespace_of(store), shard_rows=4)
        description = tmp_path / "arrays" / name / "compacted.1" / "zarr.json"
        sealed = description.read_text()
        description.write_text(sealed.replace('"sealed": true', '"sealed": false'))
        assert list(members(store, name)) == ARRAYS
        description.write_text(sealed)
        assert "compacted.1/mean" in members(store, name)
        # Nothing of it is in use any longer: it is removed but for its description.
        for key in ("a", "b"):
            store.put(example_key(key), example_moments(key * 2), replace=True)
        collect(store, age=soon())
        assert description.is_file()
        assert list(members(store, name)) == ARRAYS


def test_maintenance_finds_nothing_of_it_on_disk_and_a_listing_made_by_hand_is_made_anew(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ["a"])
        assert not any("consolidated" in path.read_text() for path in tmp_path.rglob("zarr.json"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(tmp_path / "arrays"))
        store.put(other("layer.1"), example_moments("a"))
    with Store.open(tmp_path) as store:
        assert len([path for path in members(store) if "/" not in path]) == 2
        assert store.verify() == []
        assert collect(store, age=soon()).retired == 0


def test_a_damaged_member_is_left_out_and_a_damaged_group_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ["a"])
        store.put(other("layer.1"), example_moments("a"))
        first, second = sorted({entry.namespace.id for entry in store.catalog.entries()})
        (tmp_path / "arrays" / first / "zarr.json").write_text("{")
        assert [path for path in members(store) if "/" not in path] == [second]
        with pytest.raises(CorruptEntryError, match=first):
            group(store, first)
        assert group(store, "0" * 32) is None
        assert group(store, f"{second}/mean") is None
