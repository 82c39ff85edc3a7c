"""Origin: features that cross the first base of a circular contig; a file places their pieces at both ends.

Convention: such a feature ends after the end of its contig; pieces past the origin are moved by its length.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import Parts


def past_origin(start: NDArray[np.int64], end: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Mask of the pieces of one feature that lie past the origin: the choice that makes its stretch shortest.

    Args:
        start, end: of the pieces.
        length: of the circle, in bp.
    """
    order = np.argsort(start, kind="stable")
    reach = np.maximum.accumulate(end[order])
    gaps = start[order][1:] - reach[:-1]
    past = np.zeros(len(start), bool)
    if len(gaps) and gaps.max() > start[order][0] + length - reach[-1]:
        past[order[: int(gaps.argmax()) + 1]] = True
    return past


def stretch_of(spans: list[tuple[int, int]], length: int) -> tuple[int, int]:
    """Start and end of one feature in pieces; on a circular contig, of the shorter way around.

    Args:
        spans: of the pieces.
        length: of the circular contig; 0 if the contig is linear.
    """
    start, end = (np.array(values, np.int64) for values in zip(*spans, strict=True))
    if length:
        turned = past_origin(start, end, length)
        start, end = start + length * turned, end + length * turned
    return int(start.min()), int(end.max())


def unrolled(parts: Parts, circles: Mapping[str, int]) -> Parts:
    """`parts` with those past the origin moved, for parents with parts on both sides of it."""
    lengths = lengths_of(parts.chroms, circles)
    rows = np.flatnonzero(lengths[parts.chrom])
    if not len(rows):
        return parts
    parent, start, end = parts.parent[rows], parts.start[rows], parts.end[rows]
    first = np.full(len(parts.parents), np.iinfo(np.int64).max)
    last = np.zeros(len(parts.parents), np.int64)
    np.minimum.at(first, parent, start)
    np.maximum.at(last, parent, end)
    # The way over the origin can be shorter only if the parts extend over more than half of the contig.
    wide = rows[2 * (last - first)[parent] > lengths[parts.chrom[rows]]]
    starts, ends = parts.start.copy(), parts.end.copy()
    for parent_code in np.unique(parts.parent[wide]):
        own = wide[parts.parent[wide] == parent_code]
        length = int(lengths[parts.chrom[own[0]]])
        turned = own[past_origin(parts.start[own], parts.end[own], length)]
        starts[turned] += length
        ends[turned] += length
    return replace(parts, start=starts, end=ends)


def lengths_of(chroms: list[str], circles: Mapping[str, int]) -> NDArray[np.int64]:
    """Lengths of circular contigs; 0 for the others."""
    return np.array([circles.get(name, 0) for name in chroms], np.int64)


def fitted(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    gene_start: NDArray[np.int64],
    gene_end: NDArray[np.int64],
    length: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Shifts (0 or one turn of the contig) that put most of each part into its gene."""
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
