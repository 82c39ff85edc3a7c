"""Spans of an NTv3 tile: which positions of every level a piece of the output depends on.

Convention: level l counts positions of 2^l bp; spans are 0-based half-open and end with the sequence. Only
bottleneck attention mixes distant positions, so a tile evaluated over these spans is exact. The halo is the
difference between spans and tile; it follows from the kernels alone (see `networks/ntv3/network.py`).
"""

from dataclasses import dataclass

from covpool.extractor.networks.ntv3.network import KERNEL, STEM_KERNEL, UP_KERNEL, Padding

Span = tuple[int, int]


@dataclass(frozen=True)
class Reach:
    """Positions on each side that one convolution covers, in its input."""

    stem: int = STEM_KERNEL // 2
    down: int = KERNEL // 2
    up: int = UP_KERNEL // 2


@dataclass(frozen=True)
class TileSpans:
    """Spans of one sequence, or of a batch padded to one length.

    Attributes:
        length: positions at level 0, a multiple of 2^levels.
        reach: of the network's convolutions.
    """

    length: int
    reach: Reach = Reach()

    def widen(self, span: Span, level: int, reach: int) -> Span:
        """`span` with `reach` positions on each side, within the sequence."""
        return max(0, span[0] - reach), min(self.length >> level, span[1] + reach)

    def stem(self, span: Span) -> Span:
        """Token ids that the stem needs for `span` of level 0."""
        return self.widen(span, 0, self.reach.stem)

    def below(self, span: Span, level: int) -> Span:
        """Positions of `level` that pooled `span` of `level + 1` needs: its pairs, and the convolution's."""
        return self.widen((2 * span[0], 2 * span[1]), level, self.reach.down)

    def descent(self, requested: list[Span | None]) -> list[Span]:
        """Spans of levels 0, 1, … to compute so that each level covers its requested span.

        Args:
            requested: span per level; None if no span is requested. The last is not None.
        """
        spans: list[Span] = []
        for level in reversed(range(len(requested))):
            needs = [requested[level]] + ([self.below(spans[-1], level)] if spans else [])
            needed = [need for need in needs if need is not None]
            spans.append((min(s for s, _ in needed), max(e for _, e in needed)))
        return spans[::-1]

    def ascent(self, span: Span, top: int) -> list[Span]:
        """Spans of levels 0 … `top` that the up tower needs for `span` of level 0."""
        spans = [span]
        for above in range(1, top + 1):
            start, end = spans[-1]
            spans.append(self.widen((start // 2, -(-end // 2)), above, self.reach.up))
        return spans


def padding(output: Span, available: Span, kernel: int) -> Padding:
    """Zero positions to add around `available` inputs so that a convolution gives `output` of their level.

    Inside a sequence the spans contain every input needed, so zeros are added only at its ends.
    """
    reach = kernel // 2
    return available[0] - (output[0] - reach), output[1] + reach - available[1]
