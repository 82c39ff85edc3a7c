"""Origin: features over the first base of a circular contig, whose pieces a file places at both of its ends.

Convention: such a feature ends behind its contig; what lies behind the origin is moved by its length.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import Parts


def behind(start: NDArray[np.int64], end: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which of the pieces of one feature lie behind the origin: those that make its stretch the shortest.

    Args:
        start, end: of the pieces.
        length: of the circle, in bp.
    """
    order = np.argsort(start, kind="stable")
    reach = np.maximum.accumulate(end[order])
    gaps = start[order][1:] - reach[:-1]
    found = np.zeros(len(start), bool)
    if len(gaps) and gaps.max() > start[order][0] + length - reach[-1]:
        found[order[: int(gaps.argmax()) + 1]] = True
    return found


def stretch_of(spans: list[tuple[int, int]], length: int) -> tuple[int, int]:
    """From the first base to the last of one feature in pieces; around a circle the shorter way.

    Args:
        spans: of the pieces.
        length: of the circle; 0 where the contig is none.
    """
    start, end = (np.array(values, np.int64) for values in zip(*spans, strict=True))
    if length:
        turned = behind(start, end, length)
        start, end = start + length * turned, end + length * turned
    return int(start.min()), int(end.max())


def unrolled(parts: Parts, circles: Mapping[str, int]) -> Parts:
    """`parts` with those behind the origin moved, where a parent has some on either side of it."""
    lengths = lengths_of(parts.chroms, circles)
    rows = np.flatnonzero(lengths[parts.chrom])
    if not len(rows):
        return parts
    parent, start, end = parts.parent[rows], parts.start[rows], parts.end[rows]
    first = np.full(len(parts.parents), np.iinfo(np.int64).max)
    last = np.zeros(len(parts.parents), np.int64)
    np.minimum.at(first, parent, start)
    np.maximum.at(last, parent, end)
    # A shorter way over the origin leaves out more than it goes: all others are as they should be.
    wide = rows[2 * (last - first)[parent] > lengths[parts.chrom[rows]]]
    starts, ends = parts.start.copy(), parts.end.copy()
    for one in np.unique(parts.parent[wide]):
        own = wide[parts.parent[wide] == one]
        length = int(lengths[parts.chrom[own[0]]])
        turned = own[behind(parts.start[own], parts.end[own], length)]
        starts[turned] += length
        ends[turned] += length
    return replace(parts, start=starts, end=ends)


def lengths_of(chroms: list[str], circles: Mapping[str, int]) -> NDArray[np.int64]:
    """Lengths of contigs that are circles; 0 for the others."""
    return np.array([circles.get(name, 0) for name in chroms], np.int64)


def fitted(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    gene_start: NDArray[np.int64],
    gene_end: NDArray[np.int64],
    length: NDArray[np.int64],
) -> NDArray[np.int64]:
    """By how much to move parts so that most of each lies in its gene: once around its circle, or not."""
    moved = np.zeros(len(start), np.int64)
    rows = np.flatnonzero((length > 0) & ((start < gene_start) | (end > gene_end)))
    ways = np.array([0, 1, -1])
    inside = np.array(
        [
            np.minimum(end[rows] + way * length[rows], gene_end[rows])
            - np.maximum(start[rows] + way * length[rows], gene_start[rows])
            for way in ways
        ]
    )
    moved[rows] = ways[np.argmax(np.maximum(inside, 0), axis=0)] * length[rows]
    return moved
