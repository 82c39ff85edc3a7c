"""Division: steps run apart, in any order, give the bits of a sequence that one worker ran at once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from covpool.extractor import Options, load_adapter, normalise
from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.extraction.division import run_step
from covpool.extractor.extraction.extract import Kept, Partial, extract_regions
from covpool.extractor.extraction.parts import PART_BASES, Step, part_spans, steps
from covpool.extractor.extraction.regions import Region
from covpool.extractor.models.models import describe
from covpool.store.values.moments import Moments
from covpool.store.values.partial_sums import PartialSums
from tests.extractor import golden_evo2
from tests.extractor.golden import checkpoint

PART = 1024
LENGTH = 3000
SEQUENCE = normalise("".join(np.random.default_rng(3).choice(list("ACGTN"), LENGTH)))
REGIONS = (
    Region.whole(LENGTH),
    Region("upstream", ((0, 400),)),
    # From one part into the next, and to the end.
    Region("CDS", ((400, 777), (1000, 1100), (2600, LENGTH))),
    # In the last part alone.
    Region("intron", ((2300, 2500),)),
)
LAYERS = ["stem", "down.3", "transformer.1", "up.0", "up.6"]

Sums = dict[tuple[str, str], list[PartialSums]]


def load(directory: Path, model: str = "A", dtype: str = "float32", part: int = PART) -> NTv3Adapter:
    adapter = load_adapter(str(checkpoint(directory, model)), device="cpu", dtype=dtype)
    assert isinstance(adapter, NTv3Adapter)
    adapter.tile, adapter.part = 512, part
    return adapter


def bits(found: dict[str, dict[str, Moments]]) -> dict[tuple[str, str], tuple[int, bytes, bytes]]:
    return {
        (layer, name): (one.count, one.mean.tobytes(), one.second_moment.tobytes())
        for layer, classes in found.items()
        for name, one in classes.items()
    }


def divided(adapter: NTv3Adapter, layers: list[str], options: Options) -> Sums:
    """Every step apart, those of a stage in reverse; what they hand on goes through NumPy."""
    found: Sums = {}
    handed_on: dict[tuple[int, str], list[np.ndarray]] = {}
    for stage in steps(adapter.model, layers, LENGTH, options, PART):
        left: dict[int, list[np.ndarray]] = {}
        for step in reversed(stage):
            before = {"encode": [], "attend": ["encode"], "decode": ["attend"]}[step.stage]
            given = [handed_on[step.strand, name] for name in before]
            tokens = torch.from_numpy(np.concatenate(given[0])) if given else None
            sums, tail = run_step(adapter, SEQUENCE, REGIONS, layers, options, step, tokens)
            for named, partials in sums.items():
                found.setdefault(named, []).extend(partials)
            if tail is not None:
                left.setdefault(step.strand, []).insert(0, tail.numpy().copy())
        handed_on |= {(strand, stage[0].stage): tails for strand, tails in left.items()}
    return {named: sorted(partials, key=lambda one: one.start) for named, partials in found.items()}


@pytest.mark.parametrize("strand", ["+", "-", "both"])
@pytest.mark.parametrize("layers", [LAYERS, ["up.6"], ["down.1"], ["transformer.0"]], ids=" ".join)
def test_steps_run_apart_add_up_to_the_bits_of_an_undivided_run(
    tmp_path: Path, layers: list[str], strand: str
) -> None:
    adapter = load(tmp_path)
    options = Options(strand=strand, skip_tokens=2)  # type: ignore[arg-type]
    expected = extract_regions(adapter, [(SEQUENCE, REGIONS)], layers, options)[0]
    kept = divided(adapter, layers, options)
    assert all(len(chain) == (6 if strand == "both" else 3) for chain in kept.values())
    forwards = count_forwards(adapter)
    found = extract_regions(adapter, [(SEQUENCE, REGIONS)], layers, options, kept=kept)[0]
    assert not forwards()
    assert bits(found) == bits(expected)


def test_a_model_of_many_species_is_divided_too(tmp_path: Path) -> None:
    adapter = load(tmp_path, "P")
    options = Options(condition=adapter.model.conditions[0])
    names = [adapter.layers[index].name for index in (1, -1)]
    expected = extract_regions(adapter, [(SEQUENCE, REGIONS)], names, options)[0]
    found = extract_regions(
        adapter, [(SEQUENCE, REGIONS)], names, options, kept=divided(adapter, names, options)
    )[0]
    assert bits(found) == bits(expected)


def test_parts_change_no_more_than_the_order_of_sums(tmp_path: Path) -> None:
    options = Options(strand="both", skip_tokens=2)
    cut, whole = (
        extract_regions(load(tmp_path, dtype="float64", part=part), [(SEQUENCE, REGIONS)], LAYERS, options)[0]
        for part in (PART, 1 << 20)
    )
    for layer, classes in whole.items():
        for name, expected in classes.items():
            found = cut[layer][name]
            assert found.count == expected.count
            # Sums of up to 6,000 float64 terms in another order.
            scale = np.abs(expected.second_moment).max()
            np.testing.assert_allclose(found.second_moment, expected.second_moment, atol=1e-12 * scale)


@pytest.mark.parametrize("strand", ["+", "both"])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_a_run_that_goes_on_after_some_parts_ends_in_the_same_bits(
    tmp_path: Path, parts: int, strand: str
) -> None:
    adapter = load(tmp_path)
    options = Options(strand=strand)  # type: ignore[arg-type]
    expected = extract_regions(adapter, [(SEQUENCE, REGIONS)], LAYERS, options)[0]
    chains = divided(adapter, LAYERS, options)
    # Of one layer less is known than of the others.
    kept: Kept = {
        (layer, name): chain[: parts - 1 if layer == "up.0" else parts]
        for (layer, name), chain in chains.items()
    }
    seen: list[int] = []
    found = extract_regions(adapter, [(SEQUENCE, REGIONS)], LAYERS, options, seen.append, kept=kept)[0]
    assert bits(found) == bits(expected)
    strands = 2 if strand == "both" else 1
    assert sum(seen) == strands * sum(adapter.model.layer(name).tokens(LENGTH) for name in LAYERS)


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("strand", ["+", "both"])
@pytest.mark.parametrize("stop", [3, 6, 9, 14, 20])
def test_what_a_stopped_run_kept_leads_to_the_same_bits(tmp_path: Path, strand: str, stop: int) -> None:
    adapter = load(tmp_path)
    options = Options(strand=strand)  # type: ignore[arg-type]
    expected = extract_regions(adapter, [(SEQUENCE, REGIONS)], LAYERS, options)[0]
    kept: Partial = {}
    blocks = 0

    def keep(take: Callable[[], Partial]) -> None:
        nonlocal kept, blocks
        blocks += 1
        kept = take()
        if blocks == stop:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        extract_regions(adapter, [(SEQUENCE, REGIONS)], LAYERS, options, keep=keep)
    assert all(partial.start == 0 < partial.position for partial in kept.values())
    chains = {named: [partial] for named, partial in kept.items()}
    found = extract_regions(adapter, [(SEQUENCE, REGIONS)], LAYERS, options, kept=chains)[0]
    assert bits(found) == bits(expected)
    # The stem's first part is whole after two tiles of 512 bp.
    assert bool(kept) == (stop >= 3)


def test_steps_cover_every_token_of_the_stages_that_are_needed(tmp_path: Path) -> None:
    model = load(tmp_path).model
    both = Options(strand="both")
    encode = [Step("encode", strand, part) for strand in (0, 1) for part in (0, 1, 2)]
    attend = [Step("attend", 0), Step("attend", 1)]
    decode = [Step("decode", strand, part) for strand in (0, 1) for part in (0, 1, 2)]
    assert steps(model, ["up.6"], LENGTH, both, PART) == [encode, attend, decode]
    assert steps(model, ["stem", "transformer.0"], LENGTH, both, PART) == [encode, attend]
    assert steps(model, ["stem"], LENGTH, both, PART) == [encode]
    assert steps(model, ["up.6"], PART, both, PART) == []
    assert part_spans(LENGTH, PART) == [(0, 1024), (1024, 2048), (2048, 3000)]
    assert [one.leaves() for one in (encode[4], attend[1])] == ["encoded.1.1", "attended.1"]


def test_a_model_that_carries_state_is_not_divided(tmp_path: Path) -> None:
    model = describe(str(golden_evo2.checkpoint(tmp_path / "evo2")))
    assert steps(model, [model.default_layer], 10 * PART_BASES, Options()) == []


def test_parts_hold_whole_tokens_of_every_bundled_layer() -> None:
    assert all(PART_BASES % layer.bases_per_token == 0 for layer in describe("ntv3-mini").layers)


def count_forwards(adapter: NTv3Adapter) -> Callable[[], int]:
    calls: list[int] = []
    adapter.network.register_forward_pre_hook(lambda *_: calls.append(1))
    for block in adapter.network.conv_tower_blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    return lambda: len(calls)
