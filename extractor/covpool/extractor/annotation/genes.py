"""Gene and Transcript: a gene of an annotation with its names, and what it is read in.

Convention: coordinates are 0-based and half-open.
"""

from dataclasses import dataclass, field
from typing import Literal

from covpool.extractor.annotation.spans import Spans
from covpool.extractor.errors import AnnotationError


@dataclass(frozen=True)
class Gene:
    """Where a gene lies and what it is called.

    Attributes:
        id: unique within its annotation.
        symbol: the usual short name; the id where there is none.
        chrom: contig, as the FASTA file calls it, or the annotation where it was read alone.
        start, end: 0-based half-open, in bp; on a circular contig a gene over the origin ends behind it.
        strand: "+" or "-"; a gene without one counts as "+".
        aliases: other names: locus tags, synonyms, references to other databases.
        biotype: "protein_coding" and the like; "" where it is not said.

    Raises:
        AnnotationError: it ends before it begins.
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
    """One way a gene is read; blocks in the order and coordinates of the contig.

    Attributes:
        id: as the annotation calls it; the gene's where parts name no transcript.
        exons: what is left when introns are cut out; where the annotation has none, its CDS and UTRs.
        cds: what codes for protein, stop codon included; () for a transcript that does not. Blocks overlap
            where a programmed frameshift reads a base twice.
        canonical: the annotation calls it representative of its gene (MANE Select, RefSeq Select, …).
    """

    id: str
    exons: Spans
    cds: Spans = ()
    canonical: bool = False
