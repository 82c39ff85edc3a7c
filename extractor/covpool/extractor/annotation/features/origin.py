"""Origin: features that cross the first base of a circular contig; a file places their pieces at both ends.

A feature that begins after its end or before the first base crosses the origin of a circular contig too; on a
linear contig, start and end were swapped, or are cut.
Convention: such a feature ends after the end of its contig; pieces past the origin are moved by its length.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import CDS, EXON, STOP, UTR, Features, Parts
from covpool.extractor.annotation.features.repairs import Repairs

_TYPE_NAMES = {EXON: "exon", CDS: "CDS", UTR: "UTR", STOP: "stop_codon"}


def straighten(features: Features, circles: Mapping[str, int], repairs: Repairs) -> None:
    """Correct the coordinates of genes and parts.

    Args:
        features: its genes and parts are replaced.
        circles: lengths of circular contigs in bp.
        repairs: receives every correction.
    """
    for index, line in enumerate(features.genes):
        length = circles.get(line.chrom, 0)
        if line.start < 0 or line.end <= line.start or 0 < length <= line.start:
            start, end = _meant(line.start, line.end, length, f"{line.chrom}:{{}} {line.id}", repairs)
            features.genes[index] = replace(line, start=start, end=end)
    parts = features.parts
    rows = np.flatnonzero((parts.start < 0) | (parts.end <= parts.start))
    if not len(rows):
        return
    starts, ends = parts.start.copy(), parts.end.copy()
    for row in rows.tolist():
        chrom = parts.chroms[parts.chrom[row]]
        where = f"{chrom}:{{}} {_TYPE_NAMES[int(parts.kind[row])]}"
        starts[row], ends[row] = _meant(
            int(starts[row]), int(ends[row]), circles.get(chrom, 0), where, repairs
        )
    features.parts = replace(parts, start=starts, end=ends)


def _meant(start: int, end: int, length: int, where: str, repairs: Repairs) -> tuple[int, int]:
    """The corrected [start, end) on a circular contig of `length` bp, or on a linear contig if it is 0."""
    place = where.format(f"{start + 1}-{end}")
    if end <= start:
        # Start and end were swapped as inclusive coordinates.
        exchanged = end - 1, start + 1
        if not (start < length and end > 0 and end + length - start < exchanged[1] - exchanged[0]):
            repairs.add("start-after-end", place)
            start, end = exchanged
        else:
            repairs.add("over-origin", place)
            end += length
    # A start of 0 (1-based) is off by one; a start far before the first base means before the origin.
    if length and (start < -1 or start >= length):
        repairs.add("over-origin", place)
        turns = start // length
        start, end = start - turns * length, end - turns * length
    if start < 0:
        repairs.add("before-first-base", place)
        start, end = 0, max(end, 1)
    return start, end


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
