"""Gene and Transcript: a gene of an annotation with its names, and its transcripts; and operations on spans.

Convention: coordinates are 0-based and half-open; spans are sorted and disjoint.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from covpool.extractor.errors import AnnotationError

Interval = tuple[int, int]
Spans = tuple[Interval, ...]


def joined(intervals: Iterable[Interval]) -> Spans:
    """Sorted, with overlapping and touching intervals merged."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


def without(spans: Spans, taken: Spans) -> Spans:
    """`spans` minus `taken`; both sorted and disjoint."""
    remaining: list[Interval] = []
    for start, end in spans:
        for first, last in taken:
            if last <= start:
                continue
            if first >= end:
                break
            if start < first:
                remaining.append((start, first))
            start = max(start, last)
        if start < end:
            remaining.append((start, end))
    return tuple(remaining)


def within(spans: Spans, start: int, end: int) -> Spans:
    """`spans` cut to [start, end)."""
    cut = ((max(first, start), min(last, end)) for first, last in spans)
    return tuple((first, last) for first, last in cut if first < last)


@dataclass(frozen=True)
class Gene:
    """Place and names of a gene.

    Attributes:
        id: unique within its annotation.
        symbol: the usual short name; the id if there is none.
        chrom: contig name in the FASTA file, or in the annotation if it was read alone.
        start, end: 0-based half-open, in bp; over the origin of a circular contig, `end` exceeds its length.
        strand: "+" or "-"; a gene without one counts as "+".
        aliases: other names: locus tags, synonyms, references to other databases.
        biotype: "protein_coding" and the like; "" if it is not stated.

    Raises:
        AnnotationError: the end is not after the start, or the start is negative.
    """

    id: str
    symbol: str
    chrom: str
    start: int
    end: int
    strand: Literal["+", "-"] = "+"
    aliases: tuple[str, ...] = field(default=())
    biotype: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise AnnotationError(
                f"gene {self.id}: {self.chrom}:{self.start}-{self.end} is no interval; correct the annotation"
            )

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Transcript:
    """A transcript of a gene; blocks in the order and coordinates of the contig.

    Attributes:
        id: as in the annotation; the gene's if parts name no transcript.
        exons: the exons; if the annotation has none, CDS and UTRs.
        cds: the coding bases, stop codon included; () for a non-coding transcript. Blocks overlap if a
            programmed frameshift reads a base twice.
        canonical: the annotation marks it as representative of its gene (MANE Select, RefSeq Select, …).
    """

    id: str
    exons: Spans
    cds: Spans = ()
    canonical: bool = False
