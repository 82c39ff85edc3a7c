"""Gene regions: the interval of a gene with its flanks, and the selections of its bases.

Convention: the interval is in bases of the contig, 0-based half-open. The selections are in bases of the
sequence read from it, along the strand of the gene, as `covpool.extractor.extraction` takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from covpool.extractor.annotation.genes import Gene, Spans, Transcript, joined
from covpool.extractor.annotation.selections import Parts, selections
from covpool.extractor.errors import RegionError

Reading = Literal["canonical", "union"]


@dataclass(frozen=True)
class GeneRegion:
    """The interval to read for a gene.

    Attributes:
        gene: the gene.
        start, end: with flanks, on `gene.chrom`; on a circular contig `end` may exceed its length, and the
            interval then continues at the first base.
        classes: the selections: intervals in the sequence read, by name, in the order of `selections()`;
            empty selections are left out.
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
    """The interval of a gene with flanks, and the selections of its bases.

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
    """Selections of the gene's own bases by name, on its contig; empty selections are left out.

    "canonical" follows one transcript: the one that the annotation marks as representative, else the one with
    the longest CDS, then the longest exons, then the first ID. "union" follows all: a base is CDS if it is in
    any CDS, else UTR, else another exon; it is intron if it is in a transcript but in no exon. In a
    coding transcript, exons before the CDS are five_prime_UTR and exons after it three_prime_UTR. Exons of
    other transcripts, and exon bases inside a CDS that are not CDS, are noncoding_exon. Bases of the gene
    outside of the chosen transcripts are "unspliced": for a gene without parts, all bases.

    Args:
        gene: the gene.
        transcripts: those of the gene, from `Annotation.transcripts`.
        reading: "canonical" or "union".
    """
    parts = Parts(gene, _chosen(transcripts, reading))
    return {name: spans for name, selection in selections().items() if (spans := selection.own(parts))}


def stretch(
    gene: Gene,
    own: Mapping[str, Spans],
    length: int,
    *,
    upstream: int = 0,
    downstream: int = 0,
    circular: bool = False,
) -> GeneRegion:
    """The interval of a gene with flanks; its own selections and the flanks, placed in the sequence read.

    Flanks are along the strand of the gene: upstream of a gene on "-" are larger coordinates. They end at the
    ends of a linear contig. On a circular contig they continue around it, each over at most half of the bases
    outside of the gene.

    Args:
        gene: the gene.
        own: see `own_classes`.
        length: of its contig, in bp.
        upstream, downstream: bases to read before its start and after its end.
        circular: the contig is circular.

    Raises:
        RegionError: a flank is negative, or the gene does not lie on a contig of this length.
    """
    if upstream < 0 or downstream < 0:
        raise RegionError(f"gene {gene.id}: flanks of {upstream} and {downstream} bases; give 0 or more")
    limit = gene.start + length if circular else length
    if gene.start >= length or gene.end > limit:
        raise RegionError(
            f"gene {gene.id}: {gene.chrom}:{gene.start}-{gene.end} is not on a contig of {length:,} bases"
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
        placed = tuple((first - start, last - start) for first, last in spans if first < last)
        if gene.strand == "-":
            placed = tuple((end - start - last, end - start - first) for first, last in reversed(placed))
        if placed:
            classes[name] = placed
    turn = length if start < 0 else 0
    return GeneRegion(gene, start + turn, end + turn, classes)


def _chosen(transcripts: Sequence[Transcript], reading: Reading) -> Sequence[Transcript]:
    if reading == "union" or len(transcripts) < 2:
        return transcripts

    def worth(transcript: Transcript) -> tuple[bool, int, int]:
        return transcript.canonical, _bases(transcript.cds), _bases(transcript.exons)

    return [max(sorted(transcripts, key=lambda one: one.id), key=worth)]


def _bases(spans: Spans) -> int:
    return sum(end - start for start, end in joined(spans))
