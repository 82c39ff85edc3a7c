"""Straight: corrected coordinates of features that begin after their end or before the first base.

On a circular contig they cross the origin; on a linear contig, start and end were swapped, or are cut.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from covpool.extractor.annotation.features.features import CDS, EXON, STOP, UTR, Features
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
