"""Parts: long sequences are summed part by part, and may be run step by step, each step wherever one likes.

How a long sequence is cut follows from its length and nothing else, and the sums of its parts are added up
in their order, so the result has the same bits whether one worker runs it at once, several take a step each,
or somebody goes on with what was kept.

A model whose forward can be divided runs in three stages: "encode" (what precedes attention; a step for each
part), "attend" (over all of a strand; one step), "decode" (what follows; a step for each part). A tap belongs
to the stage that passes it. Positions count tokens of a layer over the strands that are run, one after the
other.
"""

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Literal

from covpool.extractor.models.models import Layer, Model, Options

Stage = Literal["encode", "attend", "decode"]
STAGES: tuple[Stage, ...] = ("encode", "attend", "decode")

#: Bases of a part: a multiple of every tile that a forward chooses, on any device.
PART_BASES = 262_144


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a divided forward over one sequence.

    Attributes:
        stage: which third of the network.
        strand: 0, or 1 for the second of two.
        part: of the strand; None for all of it ("attend").
    """

    stage: Stage
    strand: int
    part: int | None = None

    def spans(self, length: int, part_bases: int = PART_BASES) -> list[tuple[int, int]]:
        """The parts it covers, in bases of the strand."""
        spans = part_spans(length, part_bases)
        return spans if self.part is None else [spans[self.part]]

    def leaves(self) -> str:
        """Name of the tokens that it leaves to the next stage; none follows the last."""
        numbers = [self.strand] if self.part is None else [self.strand, self.part]
        return ".".join([{"encode": "encoded", "attend": "attended"}[self.stage], *map(str, numbers)])


def part_spans(length: int, part_bases: int = PART_BASES) -> list[tuple[int, int]]:
    """The parts of a sequence of `length` bases."""
    return [(start, min(start + part_bases, length)) for start in range(0, length, part_bases)]


def stage_of(model: Model, layer: Layer) -> Stage | None:
    """The stage that a layer belongs to; None where the model's forward cannot be divided."""
    return model.family.stages.get(layer.name.partition(".")[0])


def steps(
    model: Model,
    layers: Ordered[str],
    length: int,
    options: Options,
    part_bases: int = PART_BASES,
) -> list[list[Step]]:
    """The steps of a forward by stage; those of a stage are independent, and need all of the stage before.

    Empty where the model cannot be divided, or the sequence is no longer than a part. Stages behind the
    deepest of `layers` are left out.
    """
    wanted = {stage_of(model, model.layer(name)) for name in layers}
    if length <= part_bases or None in wanted:
        return []
    deepest = max(STAGES.index(stage) for stage in wanted if stage is not None)
    strands = range(2 if options.strand == "both" else 1)
    parts = range(len(part_spans(length, part_bases)))
    return [
        [Step(stage, strand, part) for strand in strands for part in (parts if stage != "attend" else [None])]
        for stage in STAGES[: deepest + 1]
    ]


def begins(model: Model, layer: str, length: int, step: Step, part_bases: int = PART_BASES) -> list[int]:
    """Positions at which the sums of a layer begin that a step makes; none where the layer is another's."""
    tap = model.layer(layer)
    if stage_of(model, tap) != step.stage:
        return []
    strand = step.strand * tap.tokens(length)
    return [strand + tap.tokens(start) for start, _ in step.spans(length, part_bases)]
