"""Selections: kinds of bases of a gene (CDS, intron, …), each a rule on the parts of its transcripts.

Packages offer them in the entry-point group `covpool.selections`, by the name in recipes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from covpool.extractor.annotation.genes import Gene, Spans, Transcript, joined, within, without
from covpool.extractor.errors import RegionError
from covpool.store.registry import Registry


@dataclass(frozen=True)
class Parts:
    """A gene and the transcripts that determine its selections; all spans are on its contig.

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
        return joined(span for rna in self.transcripts for span in (*rna.exons, *rna.cds))

    @cached_property
    def cds(self) -> Spans:
        """Coding bases, stop codons included."""
        return joined(span for rna in self.transcripts for span in rna.cds)

    @cached_property
    def reach(self) -> Spans:
        """From the first to the last base of each transcript."""
        return joined(
            (rna.exons[0][0], max(end for _, end in rna.exons)) for rna in self.transcripts if rna.exons
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
        spans: list[tuple[int, int]] = []
        for rna in self.transcripts:
            if rna.cds:
                coding = joined(rna.cds)
                reach = (self.gene.start, coding[0][0]) if before else (coding[-1][1], self.gene.end)
                spans += within(joined(rna.exons), *reach)
        return joined(spans)


@dataclass(frozen=True)
class SelectionRule:
    """A kind of bases.

    Attributes:
        own: function from a gene to its selected bases, on its contig; none for a flank.
        flank: the side of the gene, if the selection is a flank.
        place: position in the order of selections; equal places are ordered by name.
    """

    own: Callable[[Parts], Spans] = lambda parts: ()
    flank: Literal["upstream", "downstream"] | None = None
    place: int = 100


#: All except `gene` and `exon` do not overlap and together are the whole sequence.
GENE = SelectionRule(lambda parts: parts.body, place=0)
EXON = SelectionRule(lambda parts: parts.exon, place=1)
UPSTREAM = SelectionRule(flank="upstream", place=2)
FIVE_PRIME_UTR = SelectionRule(lambda parts: parts.five_prime, place=3)
CDS = SelectionRule(lambda parts: parts.cds, place=4)
THREE_PRIME_UTR = SelectionRule(lambda parts: parts.three_prime, place=5)
#: Exons of noncoding transcripts, and other exon bases that are neither CDS nor UTR.
NONCODING_EXON = SelectionRule(
    lambda parts: without(parts.exon, joined((*parts.cds, *parts.five_prime, *parts.three_prime))),
    place=6,
)
INTRON = SelectionRule(lambda parts: without(parts.reach, parts.exon), place=7)
#: Bases outside of the transcripts; for a gene without parts, all bases.
UNSPLICED = SelectionRule(lambda parts: without(parts.body, joined((*parts.reach, *parts.exon))), place=8)
DOWNSTREAM = SelectionRule(flank="downstream", place=9)

#: Names with another meaning in stored selections.
_RESERVED = {"whole", "digest"}
_OFFERED: Registry[SelectionRule] = Registry("covpool.selections", SelectionRule, RegionError)


@cache
def selections() -> Mapping[str, SelectionRule]:
    """All selections except the whole, by name, in the order of their places."""
    if reserved := _RESERVED & _OFFERED.keys():
        raise RegionError(f"selection {min(reserved)!r}: the name is reserved; rename it in its package")
    return dict(sorted(_OFFERED.items(), key=lambda item: (item[1].place, item[0])))
