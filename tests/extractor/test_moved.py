"""Modules that users of 0.1 import are found where they lie now; so are names that have changed."""

import subprocess
import sys
from importlib import import_module

import pytest

from covpool import extractor
from covpool.extractor import Genome, Selection, extract, extract_many, load_adapter, normalise

MOVED: dict[str, str] = vars(import_module("covpool.extractor"))["_MOVED"]


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_module_of_0_1_is_the_one_that_moved(old: str) -> None:
    source = f"""
import importlib, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    old = importlib.import_module({old!r})
new = importlib.import_module({MOVED[old]!r})
assert old is new and old.__spec__.name == {MOVED[old]!r}
assert [str(w.message) for w in caught] == ["{old} is deprecated: import {MOVED[old]}"]
"""
    subprocess.run([sys.executable, "-c", source], check=True)


def test_its_classes_are_the_public_ones() -> None:
    with pytest.warns(DeprecationWarning, match=r"import covpool\.extractor\.sequences\.genome"):
        moved = import_module("covpool.extractor.genome")
    assert moved.Genome is Genome


def test_a_selection_is_understood_by_its_name_in_0_1() -> None:
    with pytest.warns(DeprecationWarning, match="use Selection"):
        assert getattr(extractor, "Region") is Selection  # noqa: B009
    old = {"regions": [Selection("CDS", ((0, 64),))]}
    adapter, sequence = load_adapter("ntv3-mini", device="cpu"), normalise("ACGT" * 32)
    expected = extract(adapter, sequence, ["up.6"], selections=old["regions"])["up.6"]["CDS"]
    with pytest.warns(DeprecationWarning, match="use selections="):
        found = extract(adapter, sequence, ["up.6"], **old)  # type: ignore[call-overload]
    assert (found["up.6"]["CDS"].second_moment == expected.second_moment).all()
    with pytest.warns(DeprecationWarning, match="use selections="):
        ((_, many),) = extract_many(adapter, [sequence], ["up.6"], regions=[old["regions"]])  # type: ignore[call-overload]
    assert list(many["up.6"]) == ["CDS"]
