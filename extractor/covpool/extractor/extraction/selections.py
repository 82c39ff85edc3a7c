"""Selection: a class of bases of a sequence ("CDS", "upstream", …) with second moments of its own.

Convention: intervals are 0-based and half-open, in bases of the sequence as the model reads it: flanks
included, along its own strand. Selections may overlap; the moments of a partition add up to those of the
whole.

A token of several bases belongs to the selections of its middle base (base r // 2 of r, counted from 0 in the
direction it is read; the last base of the sequence where the token's middle lies beyond it). Each token has
one middle, so a partition of the bases is a partition of the tokens, at every layer. A selection
without a middle base has no tokens there, and no moments.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from covpool.extractor.errors import RegionError
from covpool.extractor.models.models import Layer
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.store.values.keys import MomentsKey, Recipe, Strand, selection_digest

Interval = tuple[int, int]

#: Whether each strand that is run is read as the reverse complement.
REVERSES: Mapping[Strand, tuple[bool, ...]] = {"+": (False,), "-": (True,), "both": (False, True)}

#: The selection of every base, which is the default.
WHOLE = "whole"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'-]{0,63}")


@dataclass(frozen=True)
class Selection:
    """A class of bases of a sequence.

    Attributes:
        name: of the selection; the recipe's `selection`.
        intervals: sorted and disjoint: others are sorted, and joined where they overlap or touch, so that
            equal bases are equal selections.

    Raises:
        RegionError: the name cannot be used, or there is no interval, or an empty one.
    """

    name: str
    intervals: tuple[Interval, ...]

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise RegionError(f"selection {self.name[:80]!r}: write up to 64 letters, digits and _.'-")
        for start, end in self.intervals:
            if not 0 <= start < end:
                raise RegionError(
                    f"selection {self.name}: [{start}, {end}) is no interval; count from 0, half-open"
                )
        if not self.intervals:
            raise RegionError(f"selection {self.name}: has no interval; leave it out")
        object.__setattr__(self, "intervals", _joined(self.intervals))

    @classmethod
    def whole(cls, length: int) -> Self:
        """Every position of a sequence of `length` bases."""
        return cls(WHOLE, ((0, length),))

    def __len__(self) -> int:
        return sum(end - start for start, end in self.intervals)

    def check(self, sequence: Sequence) -> None:
        """Refuse a selection that ends after the sequence, or calls a part of it the whole.

        Raises:
            RegionError: naming both.
        """
        length = len(sequence)
        if self.intervals[-1][1] > length:
            raise RegionError(
                f"{sequence.name}: selection {self.name} ends at {self.intervals[-1][1]:,}, beyond its "
                f"{length:,} bases; give intervals of the sequence, flanks included"
            )
        if self.name == WHOLE and self.intervals != ((0, length),):
            raise RegionError(
                f"{sequence.name}: selection {WHOLE!r} is the whole sequence; call parts otherwise"
            )

    def key(self, sequence: Sequence, recipe: Recipe) -> MomentsKey:
        """The key of this selection's moments of `sequence`, under a recipe of the whole."""
        return self.key_of(sequence.digest, len(sequence), recipe)

    def key_of(self, digest: str, length: int, recipe: Recipe) -> MomentsKey:
        """The same, from the sequence's digest and length."""
        if self.name == WHOLE:
            return MomentsKey(digest, length, recipe)
        return MomentsKey(selection_digest(digest, self.intervals), length, _selecting(recipe, self.name))

    def tokens(
        self, layer: Layer, length: int, *, reverse: bool = False, skip: int = 0
    ) -> tuple[Interval, ...]:
        """Spans of the tokens of `layer` that belong to it, in the order they are read.

        Args:
            layer: the tap.
            length: of the sequence, in bp.
            reverse: the sequence is read as its reverse complement.
            skip: leading tokens that count for no selection.
        """
        size, total = layer.bases_per_token, layer.tokens(length)
        middle = size // 2
        spans = []
        for start, end in self.intervals:
            if reverse:
                start, end = length - end, length - start
            first = max(skip, -((middle - start) // size), 0)
            last = total if end == length else -((middle - end) // size)
            if first < last:
                spans.append((first, last))
        return tuple(sorted(spans))

    def count(self, layer: Layer, length: int, options: Options) -> int:
        """Tokens of `layer` that its moments count, over the strands that are run; 0: it has none."""
        return sum(
            last - first
            for reverse in REVERSES[options.strand]
            for first, last in self.tokens(layer, length, reverse=reverse, skip=options.skip_tokens)
        )


#: Its name in 0.1.
Region = Selection


@lru_cache(maxsize=1024)
def _selecting(recipe: Recipe, name: str) -> Recipe:
    """The recipe of a selection: one object for many keys, so that its digest is worked out once."""
    return replace(recipe, selection=name)


def _joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return tuple(joined)
