"""Parts: long sequences are summed part by part, and whoever goes on with some ends in the same bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covpool.extractor import Options, load_adapter, normalise
from covpool.extractor.adapters.adapter import PART_BASES
from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.extraction.extract import Partial, extract_workloads
from covpool.extractor.extraction.selections import Selection
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import describe
from covpool.store.values.moments import Moments
from tests.extractor.golden import checkpoint

PART = 1024
LENGTH = 3000
SEQUENCE = normalise("".join(np.random.default_rng(3).choice(list("ACGTN"), LENGTH)))
SELECTIONS = (
    Selection.whole(LENGTH),
    Selection("upstream", ((0, 400),)),
    # From one part into the next, and to the end.
    Selection("CDS", ((400, 777), (1000, 1100), (2600, LENGTH))),
    # In the last part alone.
    Selection("intron", ((2300, 2500),)),
)
LAYERS = ["stem", "down.3", "transformer.1", "up.0", "up.6"]


def load(directory: Path, dtype: str = "float32", part: int = PART) -> NTv3Adapter:
    adapter = load_adapter(str(checkpoint(directory)), device="cpu", dtype=dtype)
    assert isinstance(adapter, NTv3Adapter)
    adapter.tile, adapter.part = 512, part
    return adapter


def bits(found: dict[str, dict[str, Moments]]) -> dict[tuple[str, str], tuple[int, bytes, bytes]]:
    return {
        (layer, name): (one.count, one.mean.tobytes(), one.second_moment.tobytes())
        for layer, classes in found.items()
        for name, one in classes.items()
    }


def run(
    adapter: NTv3Adapter,
    options: Options,
    progress: Callable[[int], None] | None = None,
    **more: Any,
) -> dict[str, dict[str, Moments]]:
    recipes = [adapter.recipe(layer, options) for layer in LAYERS]
    (found,) = extract_workloads(adapter, [Workload.of(SEQUENCE, recipes, SELECTIONS)], progress, **more)
    return found


def kept_on_the_way(adapter: NTv3Adapter, options: Options) -> list[Partial]:
    """What was known after each block."""
    found: list[Partial] = []
    run(adapter, options, keep=lambda take: found.append(take()))
    return found


def test_parts_change_no_more_than_the_order_of_sums(tmp_path: Path) -> None:
    options = Options(strand="both", skip_tokens=2)
    cut, whole = (run(load(tmp_path, dtype="float64", part=part), options) for part in (PART, 1 << 20))
    for layer, classes in whole.items():
        for name, expected in classes.items():
            found = cut[layer][name]
            assert found.count == expected.count
            # Sums of up to 6,000 float64 terms in another order.
            scale = np.abs(expected.second_moment).max()
            np.testing.assert_allclose(found.second_moment, expected.second_moment, atol=1e-12 * scale)


@pytest.mark.parametrize("strand", ["+", "both"])
@pytest.mark.parametrize("block", [3, 6, 12, 20, -1])
def test_a_run_that_goes_on_after_some_parts_ends_in_the_same_bits(
    tmp_path: Path, block: int, strand: str
) -> None:
    adapter = load(tmp_path)
    options = Options(strand=strand)  # type: ignore[arg-type]
    expected = run(adapter, options)
    known = kept_on_the_way(adapter, options)
    # Of one layer less is known than of the others.
    kept = {named: partial for named, partial in known[block].items() if named[0] != "up.0"}
    kept |= {named: partial for named, partial in known[block // 2].items() if named[0] == "up.0"}
    seen: list[int] = []
    found = run(adapter, options, seen.append, kept=kept)
    assert bits(found) == bits(expected)
    strands = 2 if strand == "both" else 1
    assert sum(seen) == strands * sum(adapter.model.layer(name).tokens(LENGTH) for name in LAYERS)


def test_what_is_known_of_all_parts_needs_no_forward(tmp_path: Path) -> None:
    adapter, options = load(tmp_path), Options(strand="both")
    expected = run(adapter, options)
    kept = kept_on_the_way(adapter, options)[-1]
    forwards = count_forwards(adapter)
    found = run(adapter, options, kept=kept)
    assert not forwards()
    assert bits(found) == bits(expected)


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("strand", ["+", "both"])
@pytest.mark.parametrize("stop", [3, 6, 9, 14, 20])
def test_what_a_stopped_run_kept_leads_to_the_same_bits(tmp_path: Path, strand: str, stop: int) -> None:
    adapter = load(tmp_path)
    options = Options(strand=strand)  # type: ignore[arg-type]
    expected = run(adapter, options)
    kept: Partial = {}
    blocks = 0

    def keep(take: Callable[[], Partial]) -> None:
        nonlocal kept, blocks
        blocks += 1
        kept = take()
        if blocks == stop:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        run(adapter, options, keep=keep)
    assert all(partial.position > 0 for partial in kept.values())
    found = run(adapter, options, kept=kept)
    assert bits(found) == bits(expected)
    # The stem's first part is whole after two tiles of 512 bp.
    assert bool(kept) == (stop >= 3)


def test_parts_hold_whole_tokens_of_every_bundled_layer() -> None:
    assert all(PART_BASES % layer.bases_per_token == 0 for layer in describe("ntv3-mini").layers)


def count_forwards(adapter: NTv3Adapter) -> Callable[[], int]:
    calls: list[int] = []
    adapter.network.register_forward_pre_hook(lambda *_: calls.append(1))
    for block in adapter.network.conv_tower_blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    return lambda: len(calls)
