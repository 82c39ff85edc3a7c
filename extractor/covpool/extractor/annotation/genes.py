"""Gene: one gene of an annotation, with the names it goes by.

Convention: coordinates are 0-based and half-open.
"""

from dataclasses import dataclass, field
from typing import Literal

from covpool.extractor.errors import AnnotationError


@dataclass(frozen=True)
class Gene:
    """Where a gene lies and what it is called.

    Attributes:
        id: unique within its annotation.
        symbol: the usual short name; the id where there is none.
        chrom: contig, as the annotation calls it.
        start, end: 0-based half-open, in bp.
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
