"""Selections: classes of a gene's bases (CDS, intron, …), each a rule on the parts of its transcripts.

Packages offer them in the entry-point group `covpool.selections`, by the name that recipes hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.spans import Spans, joined, within, without
from covpool.extractor.errors import RegionError
from covpool.store.registry import Registry


@dataclass(frozen=True)
class Parts:
    """A gene with the transcripts its classes are read off; all spans are on its contig.

    Exons before the CDS of a coding transcript are five-prime UTR, those after it three-prime UTR. A base is
    CDS if it is in any of the transcripts, else a UTR, else another exon.
    """

    gene: Gene
    transcripts: Sequence[Transcript]

    @cached_property
    def body(self) -> Spans:
        """The gene."""
        return ((self.gene.start, self.gene.end),)

    @cached_property
    def exon(self) -> Spans:
        """Exons of all transcripts."""
        return joined(span for one in self.transcripts for span in (*one.exons, *one.cds))

    @cached_property
    def cds(self) -> Spans:
        """Coding bases, stop codons included."""
        return joined(span for one in self.transcripts for span in one.cds)

    @cached_property
    def reach(self) -> Spans:
        """From the first to the last base of each transcript."""
        return joined(
            (one.exons[0][0], max(end for _, end in one.exons)) for one in self.transcripts if one.exons
        )

    @cached_property
    def five_prime(self) -> Spans:
        """Five-prime UTR."""
        return without(self._outside_cds(before=self.gene.strand == "+"), self.cds)

    @cached_property
    def three_prime(self) -> Spans:
        """Three-prime UTR."""
        return without(
            self._outside_cds(before=self.gene.strand != "+"), joined((*self.cds, *self.five_prime))
        )

    def _outside_cds(self, *, before: bool) -> Spans:
        """Exons of coding transcripts before their CDS on the contig, or after it."""
        found: list[tuple[int, int]] = []
        for one in self.transcripts:
            if one.cds:
                coding = joined(one.cds)
                reach = (self.gene.start, coding[0][0]) if before else (coding[-1][1], self.gene.end)
                found += within(joined(one.exons), *reach)
        return joined(found)


@dataclass(frozen=True)
class Selection:
    """A class of bases.

    Attributes:
        own: those of a gene, on its contig; the flanks are read around it and have none.
        flank: the side of the gene that it is, where it is one.
        place: where it stands among the others; those of one place stand by name.
    """

    own: Callable[[Parts], Spans] = lambda parts: ()
    flank: Literal["upstream", "downstream"] | None = None
    place: int = 100


#: All but `gene` and `exon` overlap none of each other, and together are the whole sequence.
GENE = Selection(lambda parts: parts.body, place=0)
EXON = Selection(lambda parts: parts.exon, place=1)
UPSTREAM = Selection(flank="upstream", place=2)
FIVE_PRIME_UTR = Selection(lambda parts: parts.five_prime, place=3)
CDS = Selection(lambda parts: parts.cds, place=4)
THREE_PRIME_UTR = Selection(lambda parts: parts.three_prime, place=5)
#: Exons of transcripts that code for nothing, and what else of an exon is neither CDS nor UTR.
NONCODING_EXON = Selection(
    lambda parts: without(parts.exon, joined((*parts.cds, *parts.five_prime, *parts.three_prime))),
    place=6,
)
INTRON = Selection(lambda parts: without(parts.reach, parts.exon), place=7)
#: Bases that no transcript spans; of a gene without parts, all of them.
UNSPLICED = Selection(lambda parts: without(parts.body, joined((*parts.reach, *parts.exon))), place=8)
DOWNSTREAM = Selection(flank="downstream", place=9)

#: Names that mean something else where selections are kept.
_TAKEN = {"whole", "digest"}
_OFFERED: Registry[Selection] = Registry("covpool.selections", Selection, RegionError)


@cache
def selections() -> Mapping[str, Selection]:
    """Every class there is besides the whole, by name, in the order of their places."""
    if taken := _TAKEN & _OFFERED.keys():
        raise RegionError(f"selection {min(taken)!r}: the name is taken; rename it in its package")
    return dict(sorted(_OFFERED.items(), key=lambda item: (item[1].place, item[0])))
