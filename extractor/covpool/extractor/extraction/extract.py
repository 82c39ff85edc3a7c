"""Extraction: sequences through an adapter into one accumulator per sequence, layer and selection."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar, overload

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.devices import own_errors, usable_bytes
from covpool.extractor.errors import RegionError
from covpool.extractor.extraction.packs import Shape, packs
from covpool.extractor.extraction.selections import REVERSES, WHOLE, Selection
from covpool.extractor.extraction.sums import Sums
from covpool.extractor.extraction.threads import forward_threads
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Layer
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence, as_sequence, reverse_complement
from covpool.store.values.keys import Strand
from covpool.store.values.moments import Moments
from covpool.store.values.partial_sums import PartialSums

Progress = Callable[[int], None]
#: Partial sums by layer and selection.
Partial = Mapping[tuple[str, str], PartialSums]
#: Called after every block with a function that takes the sums of the parts that are whole.
Keep = Callable[[Callable[[], Partial]], None]

P = ParamSpec("P")
R = TypeVar("R")


def _takes_regions(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which also understands `regions`, the name of `selections` in 0.1."""

    @wraps(function)
    def renamed(*args: P.args, **keywords: P.kwargs) -> R:
        if "regions" in keywords:
            warnings.warn("regions= is deprecated: use selections=", DeprecationWarning, stacklevel=2)
            keywords["selections"] = keywords.pop("regions")
        return function(*args, **keywords)

    return renamed


@overload
def extract(
    adapter: Adapter,
    sequence: str | Sequence,
    layers: Ordered[str],
    *,
    strand: Strand = "+",
    skip_tokens: int = 0,
    condition: str = "",
    beyond_context: bool = False,
    selections: None = None,
    progress: Progress | None = None,
) -> dict[str, Moments]: ...


@overload
def extract(
    adapter: Adapter,
    sequence: str | Sequence,
    layers: Ordered[str],
    *,
    strand: Strand = "+",
    skip_tokens: int = 0,
    condition: str = "",
    beyond_context: bool = False,
    selections: Ordered[Selection],
    progress: Progress | None = None,
) -> dict[str, dict[str, Moments]]: ...


@_takes_regions
def extract(
    adapter: Adapter,
    sequence: str | Sequence,
    layers: Ordered[str],
    *,
    strand: Strand = "+",
    skip_tokens: int = 0,
    condition: str = "",
    beyond_context: bool = False,
    selections: Ordered[Selection] | None = None,
    progress: Progress | None = None,
) -> dict[str, Moments] | dict[str, dict[str, Moments]]:
    """Moments of each layer's activations over the whole sequence, or over each of its selections.

    The moments count the sequence's own bases, its own N included, or at coarser layers the tokens that
    hold at least one of them; padding that a model needs is dropped.

    Args:
        adapter: a loaded model.
        sequence: bases as text (normalised here), or a normalised `Sequence`.
        layers: names of taps; "final" is the last. All are taken in one pass.
        strand, skip_tokens, condition, beyond_context: see `Options`.
        selections: of its bases; they may overlap, and all are taken in the same pass.
            `Selection.whole(len(sequence))` is allowed too.
        progress: called with the number of tokens done since the last call, over all layers and strands.

    Returns:
        Moments by layer name as asked, float64; with `selections`, by layer and selection, without those that
        no token of the layer belongs to (see `covpool.extractor.extraction.selections`).

    Raises:
        SequenceError: the sequence is not DNA, too short for `skip_tokens`, or longer than the model is
            documented for.
        RegionError: a selection ends after the sequence, or two have one name.
        LayerError, ConditionError: the model has no such layer or species.
        ActivationError: activations overflowed, or did not arrive in full: a partial result is never
            returned as a whole one.
        OutOfMemoryError, CapacityError: memory ran out, or would under any schedule.
        DeviceError: the device failed.
    """
    options = Options(
        strand=strand, skip_tokens=skip_tokens, condition=condition, beyond_context=beyond_context
    )
    many = extract_many(
        adapter, [as_sequence(sequence)], layers, options, progress,
        selections=None if selections is None else [selections],
    )  # fmt: skip
    ((_, moments),) = many
    return moments


@overload
def extract_many(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layers: Ordered[str],
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    selections: None = None,
) -> Iterator[tuple[int, dict[str, Moments]]]: ...


@overload
def extract_many(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layers: Ordered[str],
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    selections: Ordered[Ordered[Selection]],
) -> Iterator[tuple[int, dict[str, dict[str, Moments]]]]: ...


@_takes_regions
def extract_many(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layers: Ordered[str],
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    selections: Ordered[Ordered[Selection]] | None = None,
) -> Iterator[tuple[int, dict[str, Moments] | dict[str, dict[str, Moments]]]]:
    """Index and moments of many sequences, as they become ready; the longest come first.

    Short sequences share a forward (see `extraction.packs`). A sequence's moments are those of
    `extract`, to the bit. `selections` holds those of each sequence; other arguments, result and errors as
    there.
    """
    recipes = [adapter.recipe(name, options) for name in layers]
    workloads = [
        Workload.of(sequence, recipes, None if selections is None else selections[index])
        for index, sequence in enumerate(sequences)
    ]
    for group in forward_groups(adapter, workloads):
        results = extract_workloads(adapter, [workloads[index] for index in group], progress)
        for index, moments in zip(group, results, strict=True):
            named = {name: moments[recipe.layer] for name, recipe in zip(layers, recipes, strict=True)}
            if selections is None:
                yield index, {name: of_layer[WHOLE] for name, of_layer in named.items()}
            else:
                yield index, named


def forward_groups(adapter: Adapter, workloads: Ordered[Workload]) -> list[list[int]]:
    """Indices of workloads by the forward they share, the largest first.

    What shares one is a pack (see `extraction.packs`), or a part of it where the sums of all do not fit into
    memory.
    """
    if not workloads:
        return []
    classes = max(len(workload.selections) for workload in workloads)
    sums = classes * sum(adapter.model.layer(layer).width ** 2 for layer in workloads[0].layers)
    # A member holds its float64 sums and, at the end, its float64 result.
    most = max(1, usable_bytes(adapter.device) // max(1, 16 * sums))
    return [
        pack[start : start + most]
        for pack in packs([workload.length for workload in workloads], adapter.model, adapter.device.type)
        for start in range(0, len(pack), most)
    ]


@own_errors()
def extract_workloads(
    adapter: Adapter,
    workloads: Ordered[Workload],
    progress: Progress | None = None,
    *,
    kept: Partial | None = None,
    keep: Keep | None = None,
) -> list[dict[str, dict[str, Moments]]]:
    """Moments by layer and selection of workloads that share every forward.

    Args:
        adapter, progress: as in `extract`.
        workloads: of the same recipes, and of one pack (see `extraction.packs`), which is padded to its
            shape.
        kept: partial sums of the one sequence there is, to go on with; what of its forward only they needed
            is left out where the model can.
        keep: called after each block, so that the sums of the one sequence there is may be kept; there are
            none before its first part is whole, nor of a model that leaves nothing out.

    Raises:
        As `extract`.
    """
    options, partials = workloads[0].options, kept or {}
    taps = [adapter.model.layer(layer) for layer in workloads[0].layers]
    members = [workload.sequence for workload in workloads]
    for workload, sequence in zip(workloads, members, strict=True):
        names = [selection.name for selection in workload.selections]
        if not names or len(set(names)) < len(names):
            raise RegionError(f"{sequence.name}: give at least one selection, and each once; got {names}")
        for selection in workload.selections:
            selection.check(sequence)
        for tap in taps:
            adapter.model.check(len(sequence), sequence.name, tap, options)
    sums = [
        {
            tap.name: Sums(
                sequence,
                tap,
                workload.selections,
                options,
                device=adapter.device,
                part=adapter.part,
                kept={name: partial for (layer, name), partial in partials.items() if layer == tap.name},
            )
            for tap in taps
        }
        for workload, sequence in zip(workloads, members, strict=True)
    ]
    if progress is not None and kept:
        progress(sum(layer_sums.position for layer_sums in sums[0].values()))
    # A sequence of several parts is alone.
    if adapter.part is None or len(members[0]) <= adapter.part:
        (shape,) = {Shape.of(adapter.model, len(sequence), adapter.device.type) for sequence in members}
        assert len(members) <= shape.rows, "more than a pack"
        members += shape.filler(len(members))
    with forward_threads():
        _run(adapter, members, sums, taps, options, progress, keep)
        return [{tap.name: of_layer[tap.name].moments() for tap in taps} for of_layer in sums]


def _run(
    adapter: Adapter,
    members: Ordered[Sequence],
    sums: Ordered[Mapping[str, Sums]],
    taps: Ordered[Layer],
    options: Options,
    progress: Progress | None,
    keep: Keep | None,
) -> None:
    """Feed the sums of the first members, strand by strand."""
    names = [tap.name for tap in taps]
    all_sums = [layer_sums for of_layer in sums for layer_sums in of_layer.values()]
    for number, reverse in enumerate(REVERSES[options.strand]):
        start = min(layer_sums.begin_strand(number, reverse=reverse) for layer_sums in all_sums)
        strands = [replace(m, bases=reverse_complement(m.bases)) if reverse else m for m in members]
        if start < max(len(sequence) for sequence in members):
            for index, block in adapter.batch(
                strands, layers=names, condition=options.condition, start=start
            ):
                if index < len(sums):
                    arrived = sums[index][block.layer].add(block)
                    if progress is not None:
                        progress(arrived)
                    if keep is not None:
                        keep(lambda: _partials(sums[0]))
        for layer_sums in all_sums:
            layer_sums.end_strand()


def _partials(sums: Mapping[str, Sums]) -> Partial:
    return {
        (layer, name): partial for layer, part in sums.items() for name, partial in part.partials().items()
    }
