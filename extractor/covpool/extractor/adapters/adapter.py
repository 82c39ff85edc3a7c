"""Adapter: the project's face of a model family; sequences in, blocks of activations out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from covpool.extractor.models import Layer, Model


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
    """What every model family offers; `tests/contract` holds the suite that each must pass."""

    @property
    def model(self) -> Model:
        """The description of the model this adapter runs."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every tap, in the order they are computed."""

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of the forward."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie and the blocks arrive."""

    def activations(self, bases: str, *, layers: Sequence[str]) -> Iterator[Block]:
        """Activations of one sequence, streamed.

        Blocks of a layer arrive in token order and hold each token exactly once: `layer.tokens(len(bases))`
        of them. Layers may interleave.

        Args:
            bases: normalised bases (upper case A C G T N), at least one.
            layers: names of taps.

        Raises:
            LayerError: the model has no such layer.
            SequenceError: the model cannot take this sequence.
        """
