"""Tokens of genes in short bins, for poolings that moments cannot give: the maximum and attention."""

from collections.abc import Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import Adapter, Block
from covpool.extractor.adapters.batching import batches
from covpool.extractor.models.models import Layer
from covpool.extractor.sequences.sequences import Sequence

#: Bases per bin: about ten codons, so that a gene of 1 kb has some thirty bins.
BASES_PER_BIN = 32
#: Maximum number of sequences in one forward.
MOST = 256


@dataclass(frozen=True)
class TokenBins:
    """One layer's activations of one gene.

    Attributes:
        bins: (bins, width) float16 means over consecutive tokens.
        maximum: (width,) float32, over all tokens.
    """

    bins: Tensor = field(repr=False)
    maximum: Tensor = field(repr=False)


def token_bins(
    adapter: Adapter,
    sequences: Ordered[Sequence],
    layer: str,
    *,
    condition: str = "",
    bases_per_bin: int = BASES_PER_BIN,
) -> Iterator[tuple[int, TokenBins]]:
    """Index and binned tokens of every sequence, the longest first; errors as in `extract_many`."""
    tap = adapter.model.layer(layer)
    per_bin = max(1, bases_per_bin // tap.bases_per_token)
    for group in batches([len(sequence) for sequence in sequences], adapter.budget, MOST):
        members = [sequences[index] for index in group]
        sums = [_Bins(tap, len(sequence), per_bin) for sequence in members]
        for place, block in adapter.batch(members, layers=[layer], condition=condition):
            sums[place].add(block)
        yield from ((index, bins.result()) for index, bins in zip(group, sums, strict=True))


class _Bins:
    """Sums of the bins of one sequence."""

    def __init__(self, layer: Layer, bases: int, per_bin: int) -> None:
        self._tokens = layer.tokens(bases)
        self._per_bin = per_bin
        self._sums = torch.zeros(-(-self._tokens // per_bin), layer.width)
        self._maximum = torch.full((layer.width,), -torch.inf)

    def add(self, block: Block) -> None:
        values = block.values.float().cpu()
        places = torch.arange(block.start, block.start + len(values)) // self._per_bin
        self._sums.index_add_(0, places, values)
        self._maximum = torch.maximum(self._maximum, values.amax(0))

    def result(self) -> TokenBins:
        counts = torch.full((len(self._sums), 1), float(self._per_bin))
        counts[-1] = self._tokens - (len(self._sums) - 1) * self._per_bin
        return TokenBins((self._sums / counts).half(), self._maximum)
