"""Selections: one forward, an accumulator for each, and a partition that adds up to the whole."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covpool.extractor import (
    Adapter,
    Layer,
    RegionError,
    Sequence,
    SequenceError,
    extract,
    load_adapter,
    normalise,
    reverse_complement,
)
from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.extraction.extract import extract_workloads
from covpool.extractor.extraction.packs import PACK_BASES, Shape, packs
from covpool.extractor.extraction.selections import Selection
from covpool.extractor.extraction.workload import Workload
from covpool.store.values.keys import selection_digest
from covpool.store.values.moments import Moments, merge
from tests.extractor.golden import checkpoint

LAYERS = ["stem", "down.3", "transformer.1", "up.0", "up.6"]
BASES = "".join(np.random.default_rng(3).choice(list("ACGT"), 3000))
PARTITION = (
    Selection("upstream", ((0, 400),)),
    Selection("CDS", ((400, 777), (1501, 1502), (2000, 2600))),
    Selection("intron", ((777, 1501), (1502, 2000))),
    Selection("downstream", ((2600, 3000),)),
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return load_adapter(str(checkpoint(tmp_path_factory.mktemp("tiny"))), dtype="float64")


@pytest.fixture(scope="module")
def mini() -> Adapter:
    return load_adapter("ntv3-mini", device="cpu")


def bits(found: Moments) -> tuple[int, bytes, bytes]:
    return found.count, found.mean.tobytes(), found.second_moment.tobytes()


@st.composite
def partitions(draw: st.DrawFn) -> tuple[int, list[Selection]]:
    length = draw(st.integers(1, 600))
    cuts = sorted({0, length, *draw(st.lists(st.integers(1, max(1, length - 1)), max_size=8))})
    pieces = list(pairwise(cuts))
    classes = draw(st.lists(st.sampled_from("abc"), min_size=len(pieces), max_size=len(pieces)))
    by_class: dict[str, list[tuple[int, int]]] = {}
    for name, piece in zip(classes, pieces, strict=True):
        by_class.setdefault(name, []).append(piece)
    return length, [Selection(name, tuple(found)) for name, found in by_class.items()]


@given(partitions(), st.sampled_from([1, 2, 3, 128]), st.booleans())
def test_a_token_belongs_to_the_class_of_its_middle_base_and_to_one_of_a_partition(
    found: tuple[int, list[Selection]], size: int, reverse: bool
) -> None:
    length, selections = found
    layer = Layer("a layer", 8, size)
    class_of = {}
    for selection in selections:
        for start, end in selection.intervals:
            class_of.update(dict.fromkeys(range(start, end), selection.name))
    for token in range(layer.tokens(length)):
        middle = min(token * size + size // 2, length - 1)
        base = length - 1 - middle if reverse else middle
        owners = [
            selection.name
            for selection in selections
            if any(s <= token < e for s, e in selection.tokens(layer, length, reverse=reverse))
        ]
        assert owners == [class_of[base]]


@pytest.mark.parametrize("strand", ["+", "-", "both"])
def test_a_partition_adds_up_to_the_whole(adapter: Adapter, strand: str) -> None:
    options = {"strand": strand, "skip_tokens": 3}
    whole = extract(adapter, BASES, LAYERS, **options)  # type: ignore[call-overload]
    parts = extract(adapter, BASES, LAYERS, selections=PARTITION, **options)  # type: ignore[call-overload]
    for layer in LAYERS:
        merged = merge(parts[layer].values())
        assert merged.count == whole[layer].count
        # Float64: only the order of the sums differs.
        error = np.linalg.norm(merged.second_moment - whole[layer].second_moment)
        assert error < 1e-13 * np.linalg.norm(whole[layer].second_moment)


def test_a_float32_partition_adds_up_to_the_whole(mini: Adapter) -> None:
    whole = extract(mini, BASES, ["up.6"])["up.6"]
    merged = merge(extract(mini, BASES, ["up.6"], selections=PARTITION)["up.6"].values())
    # Products of at most 4,096 float32 rows, cut elsewhere.
    error = np.linalg.norm(merged.second_moment - whole.second_moment)
    assert error < 1e-6 * np.linalg.norm(whole.second_moment)


def test_a_class_has_the_moments_of_its_own_tokens(adapter: Adapter) -> None:
    x = torch.cat([b.values for b in adapter.activations(BASES, layers=["up.6"])]).numpy()
    found = extract(adapter, BASES, ["up.6"], selections=PARTITION)["up.6"]["CDS"]
    rows = np.concatenate([x[400:777], x[1501:1502], x[2000:2600]])
    assert found.count == len(rows)
    assert np.allclose(found.second_moment, rows.T @ rows / len(rows), rtol=1e-12)
    assert np.allclose(found.mean, rows.mean(0), rtol=1e-12)


def test_the_minus_strand_reads_the_same_bases_of_a_class(adapter: Adapter) -> None:
    selection = Selection("CDS", ((400, 777),))
    mirrored = Selection("CDS", ((3000 - 777, 3000 - 400),))
    minus = extract(adapter, BASES, ["up.6"], strand="-", selections=[selection])["up.6"]["CDS"]
    turned = extract(adapter, reverse_complement(BASES), ["up.6"], selections=[mirrored])["up.6"]["CDS"]
    assert bits(minus) == bits(turned)


def test_classes_may_overlap_and_cost_one_forward(adapter: Adapter) -> None:
    forwards = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(adapter, name)

        def batch(self, *args: object, **options: object) -> object:
            forwards.append(args)
            return adapter.batch(*args, **options)  # type: ignore[arg-type]

    selections = [Selection.whole(3000), Selection("gene", ((400, 2600),)), *PARTITION]
    found = extract(Counting(), normalise(BASES), LAYERS, selections=selections)  # type: ignore[call-overload]
    assert len(forwards) == 1
    for layer in LAYERS:
        assert bits(found[layer]["whole"]) == bits(extract(adapter, BASES, [layer])[layer])
        parts = merge([found[layer]["CDS"], found[layer]["intron"]])
        assert found[layer]["gene"].count == parts.count


def test_a_class_without_a_middle_base_has_no_moments(adapter: Adapter) -> None:
    tiny = [Selection("motif", ((10, 12),)), Selection("rest", ((0, 10), (12, 3000)))]
    found = extract(adapter, BASES, ["transformer.1", "up.6"], selections=tiny)
    assert list(found["transformer.1"]) == ["rest"]
    assert found["up.6"]["motif"].count == 2
    layer = adapter.model.layer("transformer.1")
    assert tiny[0].tokens(layer, 3000) == ()


def test_equal_positions_are_equal_selections_and_one_key(mini: Adapter) -> None:
    one, other = Selection("CDS", ((30, 60), (0, 20), (20, 30))), Selection("CDS", ((0, 60),))
    assert one == other
    sequence, recipe = normalise(BASES), mini.recipe("up.6")
    assert one.key(sequence, recipe) == other.key(sequence, recipe)


def test_equal_bases_with_other_exons_are_another_key(mini: Adapter) -> None:
    sequence, recipe = normalise(BASES), mini.recipe("up.6")
    one, other = Selection("CDS", ((0, 60), (90, 100))), Selection("CDS", ((0, 61), (91, 100)))
    assert one.key(sequence, recipe) != other.key(sequence, recipe)
    # All genes of a class share a namespace of the store: the recipe tells the class only.
    assert one.key(sequence, recipe).recipe == other.key(sequence, recipe).recipe
    assert one.key(sequence, recipe).sequence == selection_digest(sequence.digest, [(0, 60), (90, 100)])
    assert Selection.whole(3000).key(sequence, recipe).sequence == sequence.digest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selection("CDS", ((5, 5),)), "no interval"),
        (lambda: Selection("CDS", ((-1, 5),)), "no interval"),
        (lambda: Selection("CDS", ()), "has no interval"),
        (lambda: Selection("C D/S", ((0, 5),)), "letters, digits"),
        (lambda: Selection("CDS", ((0, 5001),)).check(normalise(BASES)), "beyond its 3,000 bases"),
        (lambda: Selection("whole", ((0, 5),)).check(normalise(BASES)), "is the whole sequence"),
    ],
    ids=["empty", "before 0", "none", "name", "beyond", "whole"],
)
def test_what_is_no_selection_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(RegionError, match=message):
        make()


def test_one_class_twice_or_none_is_refused(mini: Adapter) -> None:
    for selections in ([], [Selection("CDS", ((0, 5),)), Selection("CDS", ((5, 9),))]):
        with pytest.raises(RegionError, match="at least one selection, and each once"):
            extract(mini, BASES, ["up.6"], selections=selections)


def test_a_skip_that_leaves_nothing_is_refused_with_selections_too(mini: Adapter) -> None:
    with pytest.raises(SequenceError, match="leaves none"):
        extract(mini, BASES, ["up.6"], selections=PARTITION, skip_tokens=3000)


@pytest.mark.parametrize("length", [300, 384, 1100, 5000])
def test_a_packed_sequence_has_the_same_bits_whoever_shares_its_forward(mini: Adapter, length: int) -> None:
    rng = np.random.default_rng(length)
    shape = Shape.of(mini.model, length, "cpu")

    def sequence(name: str, bases: int) -> Sequence:
        return normalise("".join(rng.choice(list("ACGTN"), bases)), name)

    mine = sequence("mine", length)
    classes = (Selection.whole(length), Selection("part", ((7, length // 2),)))
    mates = [
        sequence(f"mate {i}", int(rng.integers(shape.bases - 127, shape.bases + 1)))
        for i in range(shape.rows)
    ]

    def run(members: list[Sequence]) -> list[tuple[int, bytes, bytes]]:
        recipes = [mini.recipe("up.6")]
        given = [Workload.of(one, recipes, classes if one is mine else None) for one in members]
        found = extract_workloads(mini, given)
        return [bits(one) for one in found[members.index(mine)]["up.6"].values()]

    alone = run([mine])
    assert run([mine, *mates[1:]]) == alone
    assert run([*mates[1:], mine]) == alone
    assert run([*mates[1:2], mine]) == alone


def test_packs_hold_every_sequence_once_in_forwards_of_the_shape_of_its_length(mini: Adapter) -> None:
    lengths = [int(x) for x in np.random.default_rng(0).lognormal(7, 1.2, 500)] + [1, 128, 129, 100_000]
    found = packs(lengths, mini.model, "cpu")
    assert sorted(index for pack in found for index in pack) == list(range(len(lengths)))
    for pack in found:
        shapes = {Shape.of(mini.model, lengths[index], "cpu") for index in pack}
        assert len(shapes) == 1
        shape = shapes.pop()
        assert len(pack) <= shape.rows
        assert shape.rows == 1 or shape.rows * shape.bases <= PACK_BASES["cpu"]
    sizes = [max(lengths[index] for index in pack) for pack in found]
    assert all(-(-a // 128) >= -(-b // 128) for a, b in pairwise(sizes))


def test_what_is_kept_is_not_run_again(tmp_path: Path) -> None:
    adapter = load_adapter(str(checkpoint(tmp_path)))
    assert isinstance(adapter, NTv3Adapter)
    adapter.tile = 512
    starts = [block.start for _, block in adapter.batch([BASES], layers=["up.6"], start=1100)]
    assert starts == [1024, 1536, 2048, 2560]
    assert [block.start for _, block in adapter.batch([BASES], layers=["stem"], start=2999)] == [2560]
