"""Parents: the names that parts give as their parents, and the extent of the parts of each."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import Parts

#: Chrom, sign of the strand (0 if there is none), start and end.
Extent = tuple[str, int, int, int]


def apart(parts: Parts) -> Parts:
    """`parts`, those of a parent on one strand of one contig; others get a new parent with the same name.

    A transcript ID that occurs on X and on Y gives two parents.
    """
    chrom, strand = _first(parts)
    while True:
        same = (parts.chrom == chrom[parts.parent]) & (
            (parts.strand == strand[parts.parent]) | (parts.strand == 0)
        )
        if same.all():
            return parts
        others, codes = np.unique(parts.parent[~same], return_inverse=True)
        parent = parts.parent.copy()
        parent[~same] = len(parts.parents) + codes
        names = [*parts.parents, *(parts.parents[code] for code in others)]
        parts = replace(parts, parent=parent, parents=names)
        chrom, strand = _first(parts)


def extents(parts: Parts) -> list[Extent]:
    """Extents over the parts of each parent, in the order of `parts.parents`; each must lie on one strand."""
    chrom, strand = _first(parts)
    start = np.full(len(parts.parents), np.iinfo(np.int64).max)
    end = np.zeros(len(parts.parents), np.int64)
    np.minimum.at(start, parts.parent, parts.start)
    np.maximum.at(end, parts.parent, parts.end)
    return [
        (parts.chroms[code], int(sign), int(first_base), int(last_base))
        for code, sign, first_base, last_base in zip(chrom, strand, start, end, strict=True)
    ]


def _first(parts: Parts) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Codes of the contig, and signs of the strand, of the first part of each parent."""
    first = np.full(len(parts.parents), len(parts), np.int64)
    np.minimum.at(first, parts.parent, np.arange(len(parts)))
    return parts.chrom[first], parts.strand[first]
