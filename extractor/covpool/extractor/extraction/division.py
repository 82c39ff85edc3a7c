"""Division: one step of a forward over a long sequence, and the sums of its tokens (see `parts.py`)."""

from collections.abc import Sequence as Ordered
from dataclasses import replace

import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import HANDED_ON, Block, Divisible
from covpool.extractor.extraction.parts import Step, begins
from covpool.extractor.extraction.regions import REVERSES, Region
from covpool.extractor.extraction.sums import Sums
from covpool.extractor.extraction.threads import forward_threads
from covpool.extractor.models.models import Options
from covpool.extractor.sequences.sequences import Sequence, reverse_complement
from covpool.store.values.partial_sums import PartialSums


@forward_threads()
def run_step(
    adapter: Divisible,
    sequence: Sequence,
    regions: Ordered[Region],
    layers: Ordered[str],
    options: Options,
    step: Step,
    given: Tensor | None = None,
) -> tuple[dict[tuple[str, str], list[PartialSums]], Tensor | None]:
    """Partial sums of the layers that a step passes, and the tokens that it leaves to the next stage.

    With those of all other steps, the sums are what `extraction.extract.extract_regions` goes on
    with: nothing of the forward is left to do.

    Args:
        adapter, sequence, regions, layers, options: as there.
        step: one of `parts.steps`.
        given: what the stage before left, (tokens, width), of all its parts in order.

    Returns:
        Sums by layer and region class, one for each part that the step covers; and (tokens, width), or None
        where nothing follows.

    Raises:
        ActivationError: activations did not arrive in full.
    """
    reverse = REVERSES[options.strand][step.strand]
    spans = step.spans(len(sequence), adapter.part)
    sums: dict[str, list[Sums]] = {}
    ends: dict[str, list[int]] = {}
    for tap in map(adapter.model.layer, layers):
        positions = begins(adapter.model, tap.name, len(sequence), step, adapter.part)
        if not positions:
            continue
        ends[tap.name] = [tap.tokens(end) for _, end in spans]
        sums[tap.name] = [
            Sums(sequence, tap, regions, options, device=adapter.device, part=adapter.part, begin=position)
            for position in positions
        ]
        for one in sums[tap.name]:
            one.begin_strand(step.strand, reverse=reverse)
    read = replace(sequence, bases=reverse_complement(sequence.bases)) if reverse else sequence
    handed_on: list[Tensor] = []
    for block in adapter.step(
        read,
        layers=layers,
        condition=options.condition,
        step=step,
        given=given,
    ):
        if block.layer == HANDED_ON:
            handed_on.append(block.values)
            continue
        begin = block.start
        for one, end in zip(sums[block.layer], ends[block.layer], strict=True):
            stop = min(end, block.start + len(block.values))
            if begin < stop:
                one.add(Block(block.layer, begin, block.values[begin - block.start : stop - block.start]))
                begin = stop
    found: dict[tuple[str, str], list[PartialSums]] = {}
    for layer, parts in sums.items():
        for one, end in zip(parts, ends[layer], strict=True):
            one.end_strand(end)
            for name, partial in one.partials().items():
                found.setdefault((layer, name), []).append(partial)
    return found, torch.cat(handed_on) if handed_on else None
