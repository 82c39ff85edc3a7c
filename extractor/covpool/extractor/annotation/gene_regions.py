"""Gene regions: the stretch a gene is read from, flanks included, and the classes of its bases.

Convention: the stretch is in bases of the contig, 0-based half-open; the classes are in bases of the sequence
read from it, along the gene's own strand, as `covpool.extractor.extraction.regions` takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.selections import Parts, selections
from covpool.extractor.annotation.spans import Spans, joined
from covpool.extractor.errors import RegionError

Reading = Literal["canonical", "union"]


@dataclass(frozen=True)
class GeneRegion:
    """What to read for a gene.

    Attributes:
        gene: the gene.
        start, end: with flanks, on `gene.chrom`; on a circular contig `end` may lie behind its end, and the
            stretch goes on at its first base.
        classes: intervals in the sequence read from it, by name, in the order of `selections()`; those
            without a base are left out.
    """

    gene: Gene
    start: int
    end: int
    classes: dict[str, Spans]

    def __len__(self) -> int:
        return self.end - self.start


def gene_region(
    gene: Gene,
    transcripts: Sequence[Transcript],
    length: int,
    *,
    upstream: int = 0,
    downstream: int = 0,
    circular: bool = False,
    reading: Reading = "canonical",
) -> GeneRegion:
    """The stretch of a gene with flanks, and the classes of its bases.

    Args:
        gene: the gene.
        transcripts, reading: see `own_classes`.
        length, upstream, downstream, circular: see `stretch`.

    Raises:
        RegionError: as `stretch`.
    """
    return stretch(
        gene,
        own_classes(gene, transcripts, reading=reading),
        length,
        upstream=upstream,
        downstream=downstream,
        circular=circular,
    )


def own_classes(
    gene: Gene, transcripts: Sequence[Transcript], *, reading: Reading = "canonical"
) -> dict[str, Spans]:
    """Classes of the gene's own bases by name, on its contig; those without a base are left out.

    Classes are read off one transcript ("canonical"): the one that the annotation calls representative of the
    gene, else that with the longest CDS, then the longest exons, then the first by id. Or off all ("union"):
    a base is CDS if it is in any transcript, else a UTR, else another exon, and intron if it lies within one
    but is an exon of none. Of a coding transcript, exons before its CDS are five_prime_UTR, those behind it
    three_prime_UTR; noncoding_exon are the exons of other transcripts, and what else is no CDS inside of one.
    Bases of the gene that no chosen transcript spans are "unspliced"; for a gene without parts, all of them.

    Args:
        gene: the gene.
        transcripts: its own, of `Annotation.transcripts`.
        reading: "canonical" or "union".
    """
    parts = Parts(gene, _chosen(transcripts, reading))
    return {name: spans for name, one in selections().items() if (spans := one.own(parts))}


def stretch(
    gene: Gene,
    own: Mapping[str, Spans],
    length: int,
    *,
    upstream: int = 0,
    downstream: int = 0,
    circular: bool = False,
) -> GeneRegion:
    """The stretch of a gene with flanks; its own classes and the flanks, placed in the sequence read from it.

    Flanks are along the gene's strand: what is upstream of a gene on "-" has larger coordinates. They end
    where a linear contig does. On a circular contig they go on around it, each up to half of what the gene
    leaves.

    Args:
        gene: the gene.
        own: see `own_classes`.
        length: of its contig, in bp.
        upstream, downstream: bases to read before its start and behind its end.
        circular: the contig is a circle.

    Raises:
        RegionError: a flank is negative, or the gene does not lie on a contig of this length.
    """
    if upstream < 0 or downstream < 0:
        raise RegionError(f"gene {gene.id}: flanks of {upstream} and {downstream} bases; give none or more")
    limit = gene.start + length if circular else length
    if gene.start >= length or gene.end > limit:
        raise RegionError(
            f"gene {gene.id}: {gene.chrom}:{gene.start}-{gene.end} lies not on a contig of {length:,} bases"
        )
    before, after = (upstream, downstream) if gene.strand == "+" else (downstream, upstream)
    if circular:
        left = length - len(gene)
        before, after = min(before, left // 2), min(after, left - left // 2)
    start, end = gene.start - before, gene.end + after
    if not circular:
        start, end = max(start, 0), min(end, length)
    flanks = ((start, gene.start),), ((gene.end, end),)
    sides = dict(zip(("upstream", "downstream"), flanks[:: 1 if gene.strand == "+" else -1], strict=True))
    classes = {}
    for name, selection in selections().items():
        spans = own.get(name, ()) if selection.flank is None else sides[selection.flank]
        placed = tuple((one - start, other - start) for one, other in spans if one < other)
        if gene.strand == "-":
            placed = tuple((end - start - other, end - start - one) for one, other in reversed(placed))
        if placed:
            classes[name] = placed
    turn = length if start < 0 else 0
    return GeneRegion(gene, start + turn, end + turn, classes)


def _chosen(transcripts: Sequence[Transcript], reading: Reading) -> Sequence[Transcript]:
    if reading == "union" or len(transcripts) < 2:
        return transcripts

    def worth(one: Transcript) -> tuple[bool, int, int]:
        return one.canonical, _bases(one.cds), _bases(one.exons)

    return [max(sorted(transcripts, key=lambda one: one.id), key=worth)]


def _bases(spans: Spans) -> int:
    return sum(end - start for start, end in joined(spans))
