"""Identity: what changes a key, what does not, and the digests that must never change."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covpool.store import MomentsKey, Recipe, sequence_digest
from covpool.store.testing import example_key
from covpool.store.values.keys import canonical_json, is_digest, sha256

RECIPE = Recipe(
    family="ntv3",
    model="mini",
    weights=sha256("weights"),
    adapter_version=1,
    layer="up.6",
    dtype="float32",
)

OTHER: dict[str, Any] = {
    "family": "evo2",
    "model": "midi",
    "weights": sha256("other weights"),
    "adapter_version": 2,
    "layer": "up.5",
    "dtype": "float64",
    "context": "windows of 8192, halo 512",
    "strand": "both",
    "skip_tokens": 1,
    "selection": "CDS",
    "condition": "escherichia_coli",
}


def test_every_field_of_the_recipe_is_tried_below() -> None:
    assert set(OTHER) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("field", OTHER)
def test_every_field_of_the_recipe_changes_the_key(field: str) -> None:
    changed = dataclasses.replace(RECIPE, **{field: OTHER[field]})
    sequence = sequence_digest("ACGT")
    assert changed.digest != RECIPE.digest
    assert MomentsKey(sequence, 4, changed).digest != MomentsKey(sequence, 4, RECIPE).digest


def test_another_sequence_is_another_key() -> None:
    assert MomentsKey(sequence_digest("ACGT"), 4, RECIPE) != MomentsKey(sequence_digest("ACGA"), 4, RECIPE)
    assert sequence_digest("ACGT") != sequence_digest("ACGA")


@pytest.mark.parametrize("field", ["strand", "skip_tokens", "selection", "model"])
def test_token_selection_and_the_models_name_keep_the_feature_space(field: str) -> None:
    assert dataclasses.replace(RECIPE, **{field: OTHER[field]}).feature_space == RECIPE.feature_space


@pytest.mark.parametrize("field", ["family", "weights", "adapter_version", "layer", "dtype", "condition"])
def test_what_gives_features_their_meaning_changes_the_feature_space(field: str) -> None:
    assert dataclasses.replace(RECIPE, **{field: OTHER[field]}).feature_space != RECIPE.feature_space


def test_canonical_json_does_not_depend_on_insertion_order() -> None:
    assert canonical_json({"b": 1, "a": [True, None]}) == canonical_json({"a": [True, None], "b": 1})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


def test_digests_are_those_of_the_first_release() -> None:
    """Golden values: a change here makes every cache in the world stale."""
    key = example_key("lacZ")
    assert key.recipe.to_json() == (
        '{"adapter_version":1,"condition":"","context":"whole","dtype":"float32","family":"example",'
        '"layer":"layer.0","model":"example","selection":"whole","skip_tokens":0,"strand":"+",'
        '"weights":"64b91ca7fe644b145a842e1006d9709c2178300072b068ca382399e95536e646"}'
    )
    assert key.recipe.digest == "7585cf227ed2d39cde7e208557f3770840c42f09ab48a86ce9ed74ef1dcec69d"
    assert key.recipe.feature_space == "6c478b8ad1c92924e43fa1e57d25fb6b32e10aa001cafa27fc114dad64b1342f"
    assert sequence_digest("ACGT") == "1dff3e84fe7877e0673b69bbddcf40124e396e3f9943dd890c91b6a09adb9af0"
    assert key.digest == "50d2b9434a4f95a7841aecbe1d390d1121d0edb976812a7549712724057a8efe"


def test_a_recipe_reads_back_from_its_json() -> None:
    for field, value in OTHER.items():
        recipe = dataclasses.replace(RECIPE, **{field: value})
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_recipe_with_an_unknown_or_missing_field_is_refused() -> None:
    fields = json.loads(RECIPE.to_json())
    with pytest.raises(ValueError, match="flavour"):
        Recipe.from_json(json.dumps(fields | {"flavour": "sweet"}))
    del fields["strand"]
    with pytest.raises(ValueError, match="strand"):
        Recipe.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": ""}, "family is empty"),
        ({"layer": ""}, "layer is empty"),
        ({"weights": "abc"}, "SHA-256"),
        ({"weights": sha256("x").upper()}, "SHA-256"),
        ({"strand": "*"}, "strand must be one of"),
        ({"skip_tokens": -1}, "must not be negative"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_impossible_recipe_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


@pytest.mark.parametrize(("sequence", "length"), [("ACGT", 4), (sha256("ACGT"), 0)])
def test_an_impossible_key_is_refused(sequence: str, length: int) -> None:
    with pytest.raises(ValueError, match="key:"):
        MomentsKey(sequence, length, RECIPE)


@given(st.text())
def test_only_64_lower_case_hex_digits_are_a_digest(text: str) -> None:
    assert is_digest(sha256(text))
    assert not is_digest(text) or len(text) == 64
    assert not is_digest(sha256(text) + "\n")


@given(st.sets(st.text(), min_size=2, max_size=20))
def test_example_keys_are_valid_and_distinct_for_each_name(names: set[str]) -> None:
    keys = {example_key(name).digest for name in names}
    assert len(keys) == len(names)
    assert all(map(is_digest, keys))


def test_example_key_is_the_same_for_the_same_name() -> None:
    assert example_key("lacZ") == example_key("lacZ")
