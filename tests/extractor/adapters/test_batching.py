"""Batches: a gene's moments do not depend on its batch mates."""

from pathlib import Path

import numpy as np
import pytest

from covpool.extractor import (
    ConditionError,
    Options,
    Selection,
    SequenceError,
    describe,
    extract,
    extract_many,
    load_adapter,
    normalise,
)
from covpool.extractor.adapters.ntv3 import NTv3Adapter
from tests.extractor.golden import checkpoint

EXACT = 1e-10


@pytest.mark.parametrize("strand", ["+", "both"])
@pytest.mark.parametrize("tile", [256, 1024, 100_000])
def test_many_sequences_equal_one_by_one(tmp_path: Path, tile: int, strand: str) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path)), dtype="float64")
    assert isinstance(adapter, NTv3Adapter)
    rng = np.random.default_rng(0)
    lengths = [1, 2, 127, 128, 129, 300, 301, 777, 1500, 3000]
    sequences = [normalise("".join(rng.choice(list("ACGTN"), length)), f"s{length}") for length in lengths]
    layers = ["stem", "down.3", "transformer.2", "up.6"]
    options = Options(strand="both" if strand == "both" else "+")
    adapter.tile = 100_000
    alone = [extract(adapter, sequence, layers, strand=options.strand) for sequence in sequences]
    adapter.tile = tile
    together = dict(extract_many(adapter, sequences, layers, options))
    assert sorted(together) == list(range(len(sequences)))
    for index, expected in enumerate(alone):
        for layer in layers:
            found, one = together[index][layer], expected[layer]
            assert found.count == one.count
            error = np.linalg.norm(found.second_moment - one.second_moment)
            assert error < EXACT * np.linalg.norm(one.second_moment)
            assert np.linalg.norm(found.mean - one.mean) < EXACT * np.linalg.norm(one.mean)


def test_classes_of_many_sequences_equal_one_by_one(tmp_path: Path) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path)), dtype="float64")
    rng = np.random.default_rng(1)
    sequences = [normalise("".join(rng.choice(list("ACGT"), 60 * n)), f"s{n}") for n in range(1, 6)]
    # Each with classes of its own; one of them with another number of them.
    selections = [
        [Selection("CDS", ((n, 20 * n),)), Selection.whole(60 * n)][: 1 + n % 2] for n in range(1, 6)
    ]
    layers = ["down.3", "up.6"]
    together = dict(extract_many(adapter, sequences, layers, selections=selections))
    for index, found in together.items():
        expected = extract(adapter, sequences[index], layers, selections=selections[index])
        assert {layer: set(classes) for layer, classes in found.items()} == {
            layer: set(classes) for layer, classes in expected.items()
        }
        for layer, classes in expected.items():
            for name, one in classes.items():
                assert found[layer][name].count == one.count
                error = np.linalg.norm(found[layer][name].second_moment - one.second_moment)
                assert error < EXACT * np.linalg.norm(one.second_moment)


def test_a_post_trained_model_is_conditioned_on_a_species_by_name(tmp_path: Path) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path, "P")), dtype="float64")
    assert adapter.model.conditions == ("human", "mouse", "arabidopsis")
    human, mouse = (
        extract(adapter, "ACGTTGCA" * 32, ["up.2"], condition=species)["up.2"].second_moment
        for species in ("human", "mouse")
    )
    assert np.linalg.norm(human - mouse) > 0.01 * np.linalg.norm(human)


@pytest.mark.parametrize("condition", ["", "yeti", "<mask>"])
def test_a_missing_or_unknown_species_lists_the_known_ones(tmp_path: Path, condition: str) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path, "P")))
    with pytest.raises(ConditionError, match="choose one of human, mouse, arabidopsis"):
        extract(adapter, "ACGT", ["up.2"], condition=condition)
    with pytest.raises(ConditionError):
        adapter.model.recipe("up.2", Options(condition=condition))


def test_a_species_for_a_model_that_takes_none_is_refused() -> None:
    with pytest.raises(ConditionError, match="takes no species"):
        extract(load_adapter("ntv3-mini"), "ACGT", ["up.6"], condition="human")


def test_the_species_is_part_of_the_recipe(tmp_path: Path) -> None:
    model = describe(str(checkpoint(tmp_path, "P")))
    human, mouse = (model.recipe("up.2", Options(condition=species)) for species in ("human", "mouse"))
    assert human.digest != mouse.digest
    assert Options.of(human) == Options(condition="human")


def test_beyond_the_documented_context_only_on_request_and_in_the_recipe(tmp_path: Path) -> None:
    where = checkpoint(tmp_path)
    (where / "covpool.json").write_text('{"max_bases": 1000}')
    adapter = load_adapter(str(where))
    assert extract(adapter, "A" * 1000, ["transformer.0"])["transformer.0"].count == 8
    with pytest.raises(SequenceError, match=r"1,001 bp are more than the 1,000 .* beyond_context"):
        extract(adapter, "A" * 1001, ["transformer.0"])
    found = extract(adapter, "A" * 1001, ["transformer.0"], beyond_context=True)
    assert found["transformer.0"].count == 8
    assert "beyond" in adapter.model.recipe(options=Options(beyond_context=True)).context
