"""Coding genes of a genome: FASTA and annotation in, sense-strand sequences in genome order out.

Convention: positions are 0-based half-open; sequences read 5' to 3'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covpool.extractor.annotation.annotation import Annotation, read_annotation
from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.gff3_features import attributes_by_id
from covpool.extractor.errors import AnnotationError
from covpool.extractor.fasta import read_fasta
from covpool.extractor.sequences import Sequence, reverse_complement

Attributes = Mapping[str, list[str]]


@dataclass(frozen=True)
class CodingGene:
    """One gene with a coding sequence.

    Attributes:
        name: its id, without a "gene-" or "gene:" prefix.
        chrom, start, end, strand: where it lies.
        sequence: the whole gene on its own strand, introns included.
        coding: the coding sequence of its representative, else longest, transcript; spliced.
        names: every name that a gene-term table may call it by.
        attributes: of its line, where the annotation is GFF3.
    """

    name: str
    chrom: str
    start: int
    end: int
    strand: str
    sequence: Sequence = field(repr=False)
    coding: str = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    attributes: Attributes = field(repr=False)


def read_coding_genes(
    fasta: Path, annotation: Path, *, leave_out: Iterable[tuple[str, str]] = ()
) -> list[CodingGene]:
    """Genes with a coding sequence by contig (as in the FASTA file), start and end; pseudogenes are left out.

    Args:
        fasta: the genome.
        annotation: GFF3, GTF, BED or GenBank, see `read_annotation`.
        leave_out: attributes and values of a GFF3 gene line that leave a gene out
            (`("orf_classification", "Dubious")`).

    Raises:
        SequenceError: the FASTA file is unfit.
        AnnotationError: the annotation is damaged or of another assembly, holds no coding gene, or no gene
            with an attribute that is to be left out.
    """
    contigs = {record.name: record.bases for record in read_fasta(fasta)}
    found = read_annotation(annotation, {name: len(bases) for name, bases in contigs.items()})
    for finding in found.report:
        if finding.kind in ("contig-end", "behind-contig"):
            raise AnnotationError(
                f"{annotation}: {finding.count:,} genes reach beyond their contig in the FASTA file "
                f"({finding.examples[0]}); annotation and sequence are of different assemblies"
            )
        if finding.kind == "contig-length":
            raise AnnotationError(
                f"{annotation}: {finding.count:,} contigs are of another length than in the FASTA file "
                f"({finding.examples[0]}); annotation and sequence are of different assemblies"
            )
    attributes = attributes_by_id(annotation) if found.format == "gff3" else {}
    unwanted = list(leave_out)
    for name, _ in unwanted:
        if not any(name in one for one in attributes.values()):
            raise AnnotationError(f"{annotation}: no gene has an attribute {name!r} to be left out by")
    genes = [
        _coding_gene(gene, chosen, contigs[gene.chrom], attributes.get(gene.id, {}))
        for gene in found.genes
        if "pseudo" not in gene.biotype
        and (chosen := _representative(found, gene)) is not None
        and not any(value in attributes.get(gene.id, {}).get(name, ()) for name, value in unwanted)
    ]
    if not genes:
        raise AnnotationError(f"{annotation}: holds no gene with a coding sequence; give one with CDS")
    order = {name: index for index, name in enumerate(contigs)}
    return sorted(genes, key=lambda gene: (order[gene.chrom], gene.start, gene.end, gene.name))


def _representative(annotation: Annotation, gene: Gene) -> Transcript | None:
    coding = [one for one in annotation.transcripts(gene) if one.cds]
    return max(
        coding, key=lambda one: (one.canonical, sum(end - start for start, end in one.cds)), default=None
    )


def _coding_gene(gene: Gene, transcript: Transcript, contig: str, attributes: Attributes) -> CodingGene:
    # A gene over the origin of a circle ends behind the contig's end.
    around = contig + contig[: max(0, gene.end - len(contig))]
    bases = around[gene.start : gene.end]
    coding = "".join(around[start:end] for start, end in transcript.cds)
    if gene.strand == "-":
        bases, coding = reverse_complement(bases), reverse_complement(coding)
    name = gene.id.removeprefix("gene-").removeprefix("gene:")
    return CodingGene(
        name,
        gene.chrom,
        gene.start,
        gene.end,
        gene.strand,
        Sequence(name, bases),
        coding,
        tuple(dict.fromkeys((gene.id, name, gene.symbol, *gene.aliases))),
        attributes,
    )
