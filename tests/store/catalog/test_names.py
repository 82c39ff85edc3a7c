"""Names: any name leads to its keys, adding twice is adding once, and intervals are found by overlap."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from covpool.store import MomentsKey, Name, Store
from covpool.store.catalog.names import NamedEntry
from covpool.store.catalog.tables import names as table
from covpool.store.testing import example_key, example_moments

K12 = "ASM584v2"


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path, catalog=database_url) as opened:
        yield opened


def put(store: Store, sequence: str, **recipe: Any) -> MomentsKey:
    """Store a sequence under the example recipe with some fields changed."""
    key = example_key(sequence)
    key = replace(key, recipe=replace(key.recipe, **recipe))
    store.put(key, example_moments(sequence))
    return key


def keys(found: list[NamedEntry]) -> set[str]:
    return {one.entry.key for one in found}


def test_many_names_of_many_kinds_lead_to_one_key(store: Store) -> None:
    key = put(store, "ATG")
    place: dict[str, Any] = {
        "assembly": K12,
        "chrom": "NC_000913.3",
        "start": 336,
        "end": 2799,
        "strand": "+",
    }
    names = [
        Name(name="b0002", kind="locus_tag", key=key, **place),
        Name(name="thrA", kind="symbol", key=key, **place),
        Name(name="EG10998", kind="gene_id", key=key),
        Name(name="Hs", kind="alias", key=str(key)),
    ]
    assert store.names.add(names) == 4
    for name in names:
        (found,) = store.names.find(name.name)
        assert found.entry.moments_key == key
        assert found.name == replace(name, key=key.digest)
    assert {name.name for name in store.names.of(key)} == {name.name for name in names}


def test_adding_twice_is_adding_once(store: Store) -> None:
    key = put(store, "ATG")
    names = [
        Name(name="thrA", key=key),
        Name(name="thrA", key=key, kind="symbol"),
        Name(name="thrA", key=key),
    ]
    assert store.names.add(names) == 2
    assert store.names.add(names) == 0
    assert len(store.names.of(key)) == 2


def test_one_name_leads_to_all_its_layers_and_selections_and_filters_choose(store: Store) -> None:
    whole = put(store, "ATG")
    coding = put(store, "ATG", selection="CDS")
    deeper = put(store, "ATG", layer="layer.9")
    other = put(store, "ATG", model="other")
    store.names.add(Name(name="thrA", key=key) for key in (whole, coding, deeper, other))
    assert keys(store.names.find("thrA")) == {key.digest for key in (whole, coding, deeper, other)}
    assert keys(store.names.find("thrA", selection="CDS")) == {coding.digest}
    assert keys(store.names.find("thrA", layer="layer.9")) == {deeper.digest}
    assert keys(store.names.find("thrA", model="other")) == {other.digest}
    assert keys(store.names.find("thrA", model="other", layer="layer.9")) == set()


def test_keys_that_share_their_names_are_each_found_by_all_of_them(store: Store) -> None:
    whole, coding, deeper = (
        put(store, "ATG", **more) for more in ({}, {"selection": "CDS"}, {"layer": "layer.9"})
    )
    place: dict[str, Any] = {"assembly": K12, "chrom": "c", "start": 3, "end": 9, "strand": "-"}
    names = [
        Name(name=name, kind=kind, key=whole, also=(coding, deeper.digest), **place)
        for name, kind in (("thrA", "symbol"), ("b0002", "gene_id"))
    ]
    assert store.names.add(names) == 2
    every = {key.digest for key in (whole, coding, deeper)}
    for name in ("thrA", "b0002"):
        assert keys(store.names.find(name)) == every
    assert keys(store.names.find("thrA", selection="CDS")) == {coding.digest}
    assert keys(store.names.overlapping(K12, "c", 8, 9, kind="gene_id")) == every
    for key in (whole, coding, deeper):
        assert store.names.of(key) == [
            replace(one, key=key.digest, also=()) for one in sorted(names, key=lambda one: one.name)
        ]
    # Rows do not grow with the keys.
    with store.database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 2


def test_whom_a_name_leads_to_does_not_depend_on_how_its_keys_were_given(store: Store) -> None:
    a, b, c = (put(store, "ATG", layer=f"layer.{number}") for number in range(3))
    assert store.names.add([Name(name="thrA", key=a, also=(b,))]) == 1
    assert store.names.add([Name(name="thrA", key=b, also=(a, b))]) == 0
    # Of one layer first, of all later: a key has the name once.
    assert store.names.add([Name(name="thrA", key=a, also=(b, c)), Name(name="thrA", key=b)]) == 2
    assert [one.entry.key for one in store.names.find("thrA")] == sorted(key.digest for key in (a, b, c))
    assert [one.name for one in store.names.of(b)] == ["thrA"]
    assert len(store.names.of_assembly("")) == 3
    with pytest.raises(ValueError, match="MomentsKey or its digest, not 'thrB'"):
        Name(name="thrA", key=a, also=("thrB",))


def test_the_same_symbol_in_two_assemblies_is_told_apart(store: Store) -> None:
    ours, theirs = put(store, "ATG"), put(store, "ATT")
    store.names.add(
        [
            Name(name="thrA", kind="symbol", assembly=K12, key=ours),
            Name(name="thrA", kind="symbol", assembly="ASM886v2", key=theirs),
            Name(name="thrA", kind="alias", key=theirs),
        ]
    )
    assert keys(store.names.find("thrA", assembly=K12)) == {ours.digest}
    assert keys(store.names.find("thrA", assembly="ASM886v2")) == {theirs.digest}
    assert keys(store.names.find("thrA", kind="alias")) == {theirs.digest}
    assert len(store.names.find("thrA")) == 3


def test_case_counts_unless_it_is_to_be_ignored(store: Store) -> None:
    human, mouse = put(store, "ATG"), put(store, "ATT")
    store.names.add([Name(name="BRCA1", key=human), Name(name="Brca1", key=mouse)])
    assert keys(store.names.find("BRCA1")) == {human.digest}
    assert keys(store.names.find("brca1")) == set()
    assert keys(store.names.find("brca1", ignore_case=True)) == {human.digest, mouse.digest}


def test_a_name_that_is_no_pattern_is_taken_literally(store: Store) -> None:
    key = put(store, "ATG")
    store.names.add([Name(name="thrA", key=key)])
    for pattern in ("thr%", "thr_", "%", "thr", "'; DROP TABLE names; --"):
        assert store.names.find(pattern) == []
    assert len(store.names.find("thrA")) == 1


def test_a_name_given_before_its_key_is_stored_is_found_afterwards(store: Store) -> None:
    key = example_key("ATG")
    store.names.add([Name(name="thrA", key=key)])
    assert store.names.find("thrA") == []
    store.put(key, example_moments("ATG"))
    assert keys(store.names.find("thrA")) == {key.digest}


def test_overlaps_are_those_of_half_open_intervals(store: Store) -> None:
    """Against every interval of a short chromosome, by the definition."""
    key = put(store, "ATG")
    rng = random.Random(5)
    intervals = {(start, start + rng.randint(1, 6)) for start in (rng.randrange(12) for _ in range(12))}
    store.names.add(
        Name(name=f"{start}-{end}", key=key, assembly=K12, chrom="c", start=start, end=end)
        for start, end in intervals
    )
    store.names.add([Name(name="elsewhere", key=key, assembly=K12, chrom="d", start=0, end=20)])
    store.names.add([Name(name="other", key=key, assembly="other", chrom="c", start=0, end=20)])
    for start in range(20):
        for end in range(start + 1, 20):
            found = {one.name.name for one in store.names.overlapping(K12, "c", start, end)}
            bases = set(range(start, end))
            assert found == {f"{a}-{b}" for a, b in intervals if bases & set(range(a, b))}


def test_overlaps_can_be_asked_for_one_strand(store: Store) -> None:
    forward, reverse = put(store, "ATG"), put(store, "ATT")
    place: dict[str, Any] = {"assembly": K12, "chrom": "c", "start": 10, "end": 20}
    store.names.add([Name(name="f", key=forward, strand="+", **place)])
    store.names.add([Name(name="r", key=reverse, strand="-", **place)])
    assert keys(store.names.overlapping(K12, "c", 0, 100, strand="-")) == {reverse.digest}
    assert len(store.names.overlapping(K12, "c", 0, 100)) == 2


def test_the_order_of_what_is_found_is_that_of_the_names(store: Store) -> None:
    key = put(store, "ATG")
    store.names.add(
        Name(name=f"g{i}", key=key, assembly=K12, chrom="c", start=9 - i, end=20) for i in (4, 2, 9, 1)
    )
    assert [one.name.name for one in store.names.overlapping(K12, "c", 0, 50)] == ["g1", "g2", "g4", "g9"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"kind": ""}, "kind is empty"),
        ({"name": "thr\0A"}, "unprintable"),
        ({"name": "A" * 501}, "more than 500"),
        ({"key": "lacZ"}, "MomentsKey or its digest"),
        ({"chrom": "c"}, "give all or none"),
        ({"chrom": "c", "start": 5, "end": 5}, r"\[5, 5\) is empty"),
        ({"chrom": "c", "start": -1, "end": 5}, "count from 0"),
        ({"strand": "1"}, "strand must be"),
    ],
)
def test_a_name_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"name": "thrA", "key": example_key("a")}
    with pytest.raises(ValueError, match=message):
        Name(**(valid | fields))


def test_an_empty_interval_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"\[7, 7\) is empty"):
        store.names.overlapping(K12, "c", 7, 7)


def test_more_names_than_fit_one_transaction_are_all_added(store: Store) -> None:
    key = put(store, "ATG")
    assert store.names.add(Name(name=f"g{i}", key=key) for i in range(10_500)) == 10_500
    assert keys(store.names.find("g10499")) == {key.digest}
