"""Adapter: the project's face of a model family; sequences in, blocks of activations out."""

from collections.abc import Iterator
from collections.abc import Sequence as Names
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from covpool.extractor.models.models import Layer, Model
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.values.keys import Recipe

#: Bases of a part of a long sequence: a multiple of every tile that a forward chooses, on any device.
PART_BASES = 262_144


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
        part: bases of a part of a sequence: the sums of each part are made apart and added up in order. None
            where the sums of a sequence of any length are made at once, because a forward that goes on later
            could leave nothing out.
    """

    model: Model
    part: int | None = None

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
        first block of a layer may begin later than at 0, but not after that base.
        """
