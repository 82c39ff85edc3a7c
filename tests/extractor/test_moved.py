"""Modules that users of 0.1 import are found where they lie now."""

import subprocess
import sys
from importlib import import_module

import pytest

from covpool.extractor import Genome

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
