"""Sums: the accumulators of one sequence at one layer, one for each region class, fed block by block.

Convention: a position counts tokens over the strands that are run, one after the other.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Ordered

import torch

from covpool.extractor.accumulate import SecondMoment
from covpool.extractor.adapters.adapter import Block
from covpool.extractor.errors import ActivationError
from covpool.extractor.models import Layer, Options
from covpool.extractor.regions import Region
from covpool.extractor.sequences import Sequence
from covpool.store.moments import Moments
from covpool.store.partials import PartialSums


class Sums:
    """Second moments in the making of one sequence at one layer.

    Blocks arrive in token order; each token is added to every class it belongs to, so that all of them cost
    one forward.

    Args:
        sequence: whose tokens arrive.
        layer: the tap.
        regions: classes, see `Region.tokens`.
        options: leading tokens to skip.
        device: where blocks arrive.
        kept: partial sums by class to go on with; a class that has none begins anew.
    """

    def __init__(
        self,
        sequence: Sequence,
        layer: Layer,
        regions: Ordered[Region],
        options: Options,
        *,
        device: torch.device,
        kept: Mapping[str, PartialSums] | None = None,
    ) -> None:
        self._where = f"{sequence.name}: layer {layer.name}"
        self._layer, self._length, self._skip = layer, len(sequence), options.skip_tokens
        self._regions = regions
        self._tokens = layer.tokens(len(sequence))
        found = kept or {}
        self._sums = {
            region.name: SecondMoment.resume(found[region.name], device=device)
            if region.name in found
            else SecondMoment(layer.width, device=device)
            for region in regions
        }
        self._added = {name: found[name].position if name in found else 0 for name in self._sums}
        # Position of the strand's first token.
        self._before = 0

    @property
    def position(self) -> int:
        """Tokens that no class needs again."""
        return min(self._added.values())

    def begin_strand(self, *, reverse: bool) -> int:
        """Expect the tokens of a strand; returns the first base of the first token that is needed.

        Earlier tokens may be left out. Where none is needed, that base lies behind the last.
        """
        self._spans = {
            region.name: region.tokens(self._layer, self._length, reverse=reverse, skip=self._skip)
            for region in self._regions
        }
        self._needed = min(max(0, self.position - self._before), self._tokens)
        self._arrived: int | None = None
        return self._needed * self._layer.bases_per_token

    def add(self, block: Block) -> int:
        """Add a block's tokens to the classes they belong to; returns how many were needed."""
        start, end = block.start, block.start + len(block.values)
        follows = start <= self._needed if self._arrived is None else start == self._arrived
        if not follows:
            raise ActivationError(
                f"{self._where} continued at token {start} instead of {self._arrived or self._needed}; "
                "this is a bug of the adapter"
            )
        before = self.position
        for name, sums in self._sums.items():
            begin = max(start, self._added[name] - self._before)
            for span_start, span_end in self._spans[name]:
                first, last = max(begin, span_start), min(end, span_end)
                if first < last:
                    sums.add(block.values[first - start : last - start])
            self._added[name] = max(self._added[name], self._before + end)
        self._arrived = end
        return self.position - before

    def end_strand(self) -> None:
        """Take the strand for complete, or raise `ActivationError`."""
        if self._needed < self._tokens and self._arrived != self._tokens:
            raise ActivationError(
                f"{self._where} gave {self._arrived or 0} of {self._tokens} tokens; nothing was kept"
            )
        self._before += self._tokens

    def partials(self) -> dict[str, PartialSums]:
        """The sums so far, by class."""
        return {name: sums.partial(self._added[name]) for name, sums in self._sums.items()}

    def moments(self) -> dict[str, Moments]:
        """Moments by class; a class that no token belongs to has none."""
        return {name: sums.moments() for name, sums in self._sums.items() if sums.count}
