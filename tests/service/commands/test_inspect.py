"""covpool inspect: what it prints is what the library says of the moments in a store."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from covpool.extractor import normalise
from covpool.service.commands.inspect import inspect
from covpool.store import Moments, MomentsKey, Store
from covpool.store.catalog.names import Name
from covpool.store.interpretation.features import spectrum
from covpool.store.testing import example_key, example_moments

RECIPE = example_key("any").recipe
BASES = {"one": "ACGTAC", "two": "GGGTAC", "three": "TTTACG", "four": "CCCCAT", "five": "ATATAT"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two layers of five sequences, and their names in `genes.fa`."""
    directory = tmp_path_factory.mktemp("inspected")
    with Store.open(directory / "store") as opened:
        for name, bases in BASES.items():
            for layer in ("layer.0", "layer.1"):
                recipe = dataclasses.replace(RECIPE, layer=layer)
                key = MomentsKey(normalise(bases, name).digest, 6, recipe)
                opened.put(key, moments_of(name, layer))
    (directory / "genes.fa").write_text("".join(f">{name}\n{bases}\n" for name, bases in BASES.items()))
    return directory


def moments_of(name: str, layer: str) -> Moments:
    return example_moments(f"{name} {layer}")


def lines(store: Path, command: str, *options: str | Path) -> list[dict[str, Any]]:
    one_layer = () if command == "cka" else ("--layer", "layer.0", "--fasta", store / "genes.fa")
    arguments = [command, "--store", store / "store", "--json", *one_layer, *options]
    result = CliRunner().invoke(inspect, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return [json.loads(line) for line in result.output.splitlines()]


def test_spectra_are_listed_by_name_and_drawn(store: Path, tmp_path: Path) -> None:
    rows = lines(store, "spectrum", "--plot", tmp_path / "s.png")
    assert [one["name"] for one in rows] == list(BASES)
    expected = spectrum(moments_of("two", "layer.0")).effective_rank
    assert rows[1]["effective_rank"] == pytest.approx(expected, abs=1e-3)
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_pairs_of_one_sequence_come_strongest_first(store: Path, tmp_path: Path) -> None:
    rows = lines(store, "pairs", "two", "--count", "3", "--plot", tmp_path / "p.png")
    assert len(rows) == 3
    magnitudes = [abs(one["correlation"]) for one in rows]
    assert magnitudes == sorted(magnitudes, reverse=True)


def test_similarity_and_neighbours_agree_with_the_cosine(store: Path) -> None:
    (pair,) = lines(store, "similarity", "two", "five")
    a, b = (moments_of(name, "layer.0").second_moment.ravel() for name in ("two", "five"))
    assert pair["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    neighbours = lines(store, "neighbours", "two")
    assert {line["name"] for line in neighbours} == set(BASES) - {"two"}
    assert {line["name"]: line["cosine"] for line in neighbours}["five"] == pair["cosine"]
    assert (
        lines(store, "neighbours", "two", "--pooling", "mean+covariance", "--count", "1")[0]["name"] in BASES
    )


def test_layers_are_compared_over_the_sequences_they_share(store: Path, tmp_path: Path) -> None:
    (pair,) = lines(store, "cka", "--plot", tmp_path / "c.png")
    assert pair["sequences"] == 5
    assert "layer.0" in pair["first"]
    assert "layer.1" in pair["second"]
    assert -1.5 < pair["cka"] < 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs", "tea", "--layer", "layer.0"], "tea: not in the store"),
        (["spectrum"], "several recipes"),
        (["neighbours", "x", "--pooling", "tea"], "there is no 'tea'"),
    ],
)
def test_what_is_not_there_is_refused(store: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(inspect, [*arguments, "--store", str(store / "store")])
    assert result.exit_code != 0
    assert message in str(result.exception)


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two selections of two genes, which its catalog names."""
    directory = tmp_path_factory.mktemp("regions")
    with Store.open(directory / "store") as opened:
        for name in ("one", "two"):
            keys = []
            for selection in ("whole", "CDS"):
                recipe = dataclasses.replace(RECIPE, selection=selection)
                keys.append(MomentsKey(normalise(BASES[name], name).digest, 6, recipe))
                opened.put(keys[-1], moments_of(name, selection))
            opened.names.add([Name(name=name, key=keys[0], also=tuple(keys[1:]))])
        opened.names.add([Name(name="both", key=key) for key in opened.keys()])  # noqa: SIM118
    return directory / "store"


@pytest.mark.parametrize("selection", [None, "whole", "CDS"])
def test_a_selection_is_chosen_and_names_of_the_catalog_are_understood(
    regions: Path, selection: str | None
) -> None:
    chosen = () if selection is None else ("--selection", selection)
    arguments = ["similarity", "one", "two", "--json", "--store", str(regions), *chosen]
    result = CliRunner().invoke(inspect, arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    a, b = (moments_of(name, selection or "whole").second_moment.ravel() for name in ("one", "two"))
    line = json.loads(result.output)
    assert (line["first"], line["second"]) == ("one", "two")
    assert line["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs", "one", "--selection", "intron"], "no moments of intron; it has those of"),
        (["pairs", "three"], "three: not in the store"),
        (["pairs", "both"], "both: is the name of 2 matrices; give a key: "),
    ],
)
def test_a_name_or_selection_that_leads_to_no_one_matrix_is_refused(
    regions: Path, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(inspect, [*arguments, "--store", str(regions)])
    assert result.exit_code != 0
    assert message in str(result.exception)
