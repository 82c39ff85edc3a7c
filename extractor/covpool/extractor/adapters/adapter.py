"""Adapter: the project's face of a model family; sequences in, blocks of activations out."""

from collections.abc import Iterator
from collections.abc import Sequence as Names
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from covpool.extractor.extraction.parts import Step
from covpool.extractor.models.models import Layer, Model
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.values.keys import Recipe

#: Name of the blocks that a step of a divided forward leaves to the next stage.
HANDED_ON = ""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Activations of consecutive tokens of one layer.

    Attributes:
        layer: the tap's name.
        start: index of the first token, 0-based.
        values: (tokens, width) tensor in the adapter's dtype, on its device.
    """

    layer: str
    start: int
    values: Tensor


class Adapter(Protocol):
    """What every model family offers; `tests/contract` holds the suite that each must pass.

    Attributes:
        model: the description of the model this adapter runs.
    """

    model: Model

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every tap, in the order they are computed."""
        return self.model.layers

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of the forward."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie and the blocks arrive."""

    @property
    def budget(self) -> int:
        """Bases that one forward may hold now; longer sequences are streamed, shorter ones share one."""

    def recipe(self, layer: str | None = None, options: Options | None = None) -> Recipe:
        """The recipe of moments that this adapter computes, its compute dtype included."""
        return self.model.recipe(layer, options, dtype=str(self.dtype).removeprefix("torch."))

    def activations(
        self, sequence: str | Sequence, *, layers: Names[str], condition: str = ""
    ) -> Iterator[Block]:
        """Activations of one sequence, streamed.

        Blocks of a layer arrive in token order and hold each token exactly once: `layer.tokens(bases)` of
        them. Layers may interleave.

        Args:
            sequence: bases as text (normalised here), or a normalised `Sequence`.
            layers: names of taps.
            condition: species of a model that takes one.

        Raises:
            SequenceError: the text is not DNA.
            LayerError: the model has no such layer.
            ConditionError: the model needs a species, knows another, or takes none.
        """
        return (block for _, block in self.batch([sequence], layers=layers, condition=condition))

    def batch(
        self, sequences: Names[str | Sequence], *, layers: Names[str], condition: str = "", start: int = 0
    ) -> Iterator[tuple[int, Block]]:
        """Activations of several sequences in one forward, each with its index.

        A sequence's activations do not depend on the others. Blocks of a sequence and layer arrive as in
        `activations`; sequences may interleave. Arguments and errors as there, and `start`: a base before
        which no token is needed any more. A model that can leaves out what only such tokens take, so that the
        first block of a layer may begin later than at 0, but not behind that base.
        """


@runtime_checkable
class Divisible(Adapter, Protocol):
    """An adapter whose forward over one sequence can be run step by step; see `extraction.parts`."""

    @property
    def part(self) -> int:
        """Bases of a part."""

    def step(
        self,
        sequence: Sequence,
        *,
        layers: Names[str],
        condition: str = "",
        step: Step,
        given: Tensor | None = None,
    ) -> Iterator[Block]:
        """Activations of the tokens and layers that a step passes: to the bit those of `activations`.

        Args:
            sequence: as the strand is read.
            layers: names of all taps that are wanted, as in the other steps.
            condition: as in `activations`.
            step: its stage and part.
            given: the blocks called `HANDED_ON` of the stage before, joined along the tokens: of all parts
                for "attend".

        Yields:
            Blocks of the taps of its stage in token order, and blocks called `HANDED_ON` for the next.
        """
