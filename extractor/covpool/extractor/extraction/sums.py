"""Sums: the accumulators of one sequence at one layer, one for each selection, fed block by block.

Convention: a position counts tokens over the strands that are run, one after the other.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Ordered

import torch

from covpool.extractor.adapters.adapter import Block
from covpool.extractor.errors import ActivationError
from covpool.extractor.extraction.accumulate import SecondMoment
from covpool.extractor.extraction.selections import Selection
from covpool.extractor.models.models import Layer
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.values.moments import Moments
from covpool.store.values.partial_sums import PartialSums


class Sums:
    """Second moments in the making of one sequence at one layer.

    Blocks arrive in token order; each token is added to every selection it belongs to, so that all of them
    cost one forward. For a sequence longer than a part, each part has its own sums, which are added in order:
    a run that resumes from the sums of some parts gives the same bits.

    Args:
        sequence: whose tokens arrive.
        layer: the tap.
        selections: see `Selection.tokens`.
        options: leading tokens to skip.
        device: where blocks arrive.
        part: bases of a part; None does not cut.
        kept: partial sums by selection to go on with; a selection without any begins anew.
    """

    def __init__(
        self,
        sequence: Sequence,
        layer: Layer,
        selections: Ordered[Selection],
        options: Options,
        *,
        device: torch.device,
        part: int | None = None,
        kept: Mapping[str, PartialSums] | None = None,
    ) -> None:
        self._where = f"{sequence.name}: layer {layer.name}"
        self._layer, self._length, self._skip = layer, len(sequence), options.skip_tokens
        self._selections = selections
        self._tokens = layer.tokens(len(sequence))
        self._cut = None if part is None or len(sequence) <= part else part // layer.bases_per_token
        self._device = device
        partials = kept or {}
        #: Of whole parts, and of the part under way.
        self._whole = {
            selection.name: SecondMoment.resume(partials[selection.name], device=device)
            if selection.name in partials
            else None
            for selection in selections
        }
        self._open = {name: self._empty() for name in self._whole}
        self._added = {name: partials[name].position if name in partials else 0 for name in self._whole}
        self._sealed = dict(self._added)
        # Position of the strand's first token.
        self._before = 0

    @property
    def position(self) -> int:
        """Tokens that no selection needs again."""
        return min(self._added.values())

    def begin_strand(self, number: int, *, reverse: bool) -> int:
        """Expect the tokens of a strand, the first or second; returns the first base of the first one needed.

        Earlier tokens may be left out. Where none is needed, that base lies after the last.
        """
        self._spans = {
            selection.name: selection.tokens(self._layer, self._length, reverse=reverse, skip=self._skip)
            for selection in self._selections
        }
        self._before = number * self._tokens
        self._needed = min(max(0, self.position - self._before), self._tokens)
        self._arrived: int | None = None
        return self._needed * self._layer.bases_per_token

    def add(self, block: Block) -> int:
        """Add a block's tokens to the selections they belong to; returns how many were needed."""
        start, end = block.start, block.start + len(block.values)
        follows = start <= self._needed if self._arrived is None else start == self._arrived
        if not follows:
            raise ActivationError(
                f"{self._where} continued at token {start} instead of {self._arrived or self._needed}; "
                "this is a bug of the adapter"
            )
        before = self.position
        for first, last in self._within_parts(start, end):
            for name, sums in self._open.items():
                begin = max(first, self._added[name] - self._before)
                for span_start, span_end in self._spans[name]:
                    begin_in_span, end_in_span = max(begin, span_start), min(last, span_end)
                    if begin_in_span < end_in_span:
                        sums.add(block.values[begin_in_span - start : end_in_span - start])
                self._added[name] = max(self._added[name], self._before + last)
            if self._cut is not None and (last % self._cut == 0 or last == self._tokens):
                self._seal(self._before + last)
        self._arrived = end
        return self.position - before

    def end_strand(self) -> None:
        """Take the strand for complete, or raise `ActivationError`."""
        if self._needed < self._tokens and self._arrived != self._tokens:
            raise ActivationError(
                f"{self._where} gave {self._arrived or 0} of {self._tokens} tokens; nothing was kept"
            )

    def partials(self) -> dict[str, PartialSums]:
        """The sums of whole parts so far, by selection; none for a selection without a whole part."""
        return {
            name: sums.partial(self._sealed[name]) for name, sums in self._whole.items() if sums is not None
        }

    def moments(self) -> dict[str, Moments]:
        """Moments by selection; a selection without tokens has none."""
        for name, whole in self._whole.items():
            if whole is not None and self._open[name].count:
                whole.merge(self._open[name])
                self._open[name] = self._empty()
        finished = {name: whole or self._open[name] for name, whole in self._whole.items()}
        return {name: sums.moments() for name, sums in finished.items() if sums.count}

    def _within_parts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Tokens start … end, cut where a part ends."""
        while start < end:
            stop = end if self._cut is None else min(end, (start // self._cut + 1) * self._cut)
            yield start, stop
            start = stop

    def _seal(self, position: int) -> None:
        """Close the part that ends at `position`."""
        for name, whole in self._whole.items():
            if self._sealed[name] >= position:
                continue
            if whole is None:
                self._whole[name] = self._open[name]
            else:
                whole.merge(self._open[name])
            self._open[name] = self._empty()
            self._sealed[name] = position

    def _empty(self) -> SecondMoment:
        return SecondMoment(self._layer.width, device=self._device)
