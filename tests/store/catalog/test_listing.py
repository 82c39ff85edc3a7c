"""Listing: a store as an Arrow table, filtered, and the same again from Parquet."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from covpool.store import Name, Recipe, Store
from covpool.store.arrays.schema import Namespace
from covpool.store.testing import example_key, example_moments


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    """Three entries that differ in layer and selection, and a reserved one."""
    recipes: dict[str, Any] = {"a": {}, "bb": {"layer": "layer.1"}, "ccc": {"selection": "CDS"}}
    with Store.open(tmp_path, catalog=database_url) as opened:
        for name, changed in recipes.items():
            key = example_key(name)
            opened.put(replace(key, recipe=replace(key.recipe, **changed)), example_moments(name))
        key = example_key("dddd")
        opened.catalog.reserve(key, Namespace(key.recipe, 8, "float32"))
        yield opened


def lengths(table: pa.Table) -> set[int]:
    return set(table["length"].to_pylist())


def test_each_ready_entry_is_a_row_in_the_order_of_the_keys(store: Store) -> None:
    rows = store.table().to_pylist()
    assert [row["key"] for row in rows] == list(map(str, store.keys()))
    for row in rows:
        entry = store.entry(row["key"])
        assert Recipe.from_json(row["recipe"]) == entry.namespace.recipe
        assert (row["model"], row["layer"]) == (entry.namespace.recipe.model, entry.namespace.recipe.layer)
        assert (row["count"], row["length"], row["created"]) == (entry.count, entry.length, entry.created)
        assert (row["width"], row["dtype"], row["error"]) == (8, "float32", 0.0)


def test_filters_choose_by_layer_selection_model_and_state(store: Store) -> None:
    assert lengths(store.table()) == {1, 2, 3}
    assert lengths(store.table(layer="layer.1")) == {2}
    assert lengths(store.table(selection="CDS")) == {3}
    assert lengths(store.table(model="example", selection="whole")) == {1, 2}
    assert lengths(store.table(model="other")) == set()
    assert lengths(store.table(state="reserved")) == {4}
    assert lengths(store.table(state=None)) == {1, 2, 3, 4}


def test_an_assembly_chooses_what_is_named_in_it_once_each(store: Store) -> None:
    store.names.add(
        Name(name=name, kind=kind, key=example_key("a"), assembly="ASM584v2")
        for name, kind in (("b0002", "locus_tag"), ("thrA", "symbol"))
    )
    assert store.table(assembly="ASM584v2")["key"].to_pylist() == [str(example_key("a"))]
    assert store.table(assembly="hg38").num_rows == 0


def test_since_keeps_what_became_ready_then_or_later(store: Store) -> None:
    times = sorted(store.table()["created"].to_pylist())
    assert store.table(since=times[0]).num_rows == 3
    assert store.table(since=times[2]).num_rows == 1
    assert store.table(since=datetime.now(UTC) + timedelta(hours=1)).num_rows == 0
    assert store.table(since=times[2].replace(tzinfo=None)).num_rows == 1


def test_an_empty_listing_has_the_columns_of_a_full_one(store: Store) -> None:
    assert store.table(model="none").schema == store.table().schema
    assert store.table(state="reserved").schema == store.table().schema


def test_the_listing_survives_parquet(store: Store, tmp_path: Path) -> None:
    table = store.table(state=None)
    pq.write_table(table, tmp_path / "listing.parquet")
    assert pq.read_table(tmp_path / "listing.parquet").equals(table)
