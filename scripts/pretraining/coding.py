"""Coding bases of annotated genomes: the union of a GFF3 file's CDS intervals, on either strand."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from xopen import xopen

from pretraining.genomes import Piece

Intervals = dict[str, list[tuple[int, int]]]


def read_cds(path: Path) -> Intervals:
    """CDS intervals of a plain or gzipped GFF3 file by contig, 0-based half-open."""
    found: Intervals = defaultdict(list)
    with xopen(path, "rt", encoding="utf-8", threads=0) as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) >= 5 and fields[2] == "CDS" and not line.startswith("#"):
                found[fields[0]].append((int(fields[3]) - 1, int(fields[4])))
    return dict(found)


def coding_bases(piece: Piece, cds: Intervals) -> npt.NDArray[np.bool_]:
    """Which bases of the piece lie in a CDS."""
    coding = np.zeros(len(piece.ids), dtype=np.bool_)
    for start, end in cds.get(piece.chrom, []):
        coding[max(0, start - piece.start) : max(0, end - piece.start)] = True
    return coding
