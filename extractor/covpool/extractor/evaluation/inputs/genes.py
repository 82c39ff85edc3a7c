"""Coding genes of a genome: FASTA and annotation in, sense-strand sequences in genome order out.

Convention: positions are 0-based half-open; sequences read 5' to 3'.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from covpool.extractor.annotation.annotation import Annotation, read_annotation
from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.errors import AnnotationError
from covpool.extractor.evaluation.inputs.gene_lines import Attributes, Details, read_gene_lines
from covpool.extractor.sequences.fasta import read_fasta
from covpool.extractor.sequences.sequences import Sequence, reverse_complement

#: Flaws of an annotation that is of another assembly than the FASTA file.
_OTHER_ASSEMBLY = {
    "contig-end": "genes reach beyond their contig",
    "behind-contig": "genes reach beyond their contig",
    "contig-length": "contigs are of another length than",
}


@dataclass(frozen=True)
class Contig:
    """A contig with genes.

    Attributes:
        name: in the FASTA file.
        length: in bp.
        other_names: other names in an alias table or the annotation.
    """

    name: str
    length: int
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class CodingGene:
    """One gene with a coding sequence.

    Attributes:
        name: its id, without a "gene-" or "gene:" prefix.
        chrom, start, end, strand: place; over the origin of a circular contig, `end` exceeds its length.
        sequence: the whole gene on its own strand, introns included.
        coding: the spliced coding sequence of the representative transcript, else of the longest.
        names: its ID as in the annotation, its name, its symbol and its other names.
        attributes: of its line, if the annotation is GFF3 or GTF.
        symbol: the usual short name.
        products: names of its transcripts and proteins, and their references to databases.
        terms: ids in the attribute Ontology_term of its lines.
        contig: its contig; None if unknown.
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
    symbol: str = field(default="", repr=False)
    products: tuple[str, ...] = field(default=(), repr=False)
    terms: tuple[str, ...] = field(default=(), repr=False)
    contig: Contig | None = field(default=None, repr=False)


def read_coding_genes(
    fasta: str | PathLike[str],
    annotation: str | PathLike[str],
    *,
    leave_out: Iterable[tuple[str, str]] = (),
    aliases: Mapping[str, str] | None = None,
    circular: frozenset[str] = frozenset(),
) -> list[CodingGene]:
    """Genes with a coding sequence by contig (as in the FASTA file), start and end; pseudogenes are left out.

    Args:
        fasta: the genome.
        annotation: GFF3, GTF, BED or GenBank, see `read_annotation`.
        leave_out: attributes and values of a GFF3 or GTF gene line that leave a gene out
            (`("orf_classification", "Dubious")`).
        aliases: names in the FASTA file by other names of contigs.
        circular: circular contigs, in addition to those that the annotation declares circular.

    Raises:
        SequenceError: the FASTA file is damaged or unsupported.
        AnnotationError: the annotation is damaged or of another assembly, holds no coding gene, or no gene
            has an attribute of `leave_out`.
    """
    annotation = Path(annotation)
    contigs = {record.name: record.bases for record in read_fasta(fasta)}
    lengths = {name: len(bases) for name, bases in contigs.items()}
    source = read_annotation(annotation, lengths, aliases=aliases, circular=circular)
    for finding in source.report:
        if finding.kind in _OTHER_ASSEMBLY:
            raise AnnotationError(
                f"{annotation}: {finding.count:,} {_OTHER_ASSEMBLY[finding.kind]} in the FASTA file "
                f"({finding.examples[0]}); annotation and sequence are of different assemblies"
            )
    owners = {rna.id: gene.id for gene in source.genes for rna in source.transcripts(gene)}
    ids = (gene.id for gene in source.genes)
    said, contig_names = read_gene_lines(annotation, source.format, ids, owners)
    rules = list(leave_out)
    for name, _ in rules:
        if not any(name in gene.attributes for gene in said.values()):
            raise AnnotationError(f"{annotation}: no gene has the attribute {name!r} to leave genes out by")
    places = _contigs(lengths, {**source.contigs, **(aliases or {})}, contig_names)
    genes = [
        _coding_gene(gene, chosen, contigs[gene.chrom], said.get(gene.id, Details()), places[gene.chrom])
        for gene in source.genes
        if "pseudo" not in gene.biotype
        and (chosen := _representative(source, gene)) is not None
        and not any(value in said.get(gene.id, Details()).attributes.get(name, ()) for name, value in rules)
    ]
    if not genes:
        raise AnnotationError(f"{annotation}: holds no gene with a coding sequence; give one with CDS")
    order = {name: index for index, name in enumerate(contigs)}
    return sorted(genes, key=lambda gene: (order[gene.chrom], gene.start, gene.end, gene.name))


def _contigs(
    lengths: Mapping[str, int], aliases: Mapping[str, str], contig_names: Mapping[str, tuple[str, ...]]
) -> dict[str, Contig]:
    """Every contig with its other names, without the names of other contigs."""
    others: dict[str, dict[str, None]] = {name: {} for name in lengths}
    for other, name in aliases.items():
        if name in others:
            others[name][other] = None
    for used, names in contig_names.items():
        name = used if used in lengths else aliases.get(used, "")
        if name in others:
            others[name] |= dict.fromkeys(names)
    return {
        name: Contig(name, length, tuple(other for other in others[name] if other not in lengths))
        for name, length in lengths.items()
    }


def _representative(annotation: Annotation, gene: Gene) -> Transcript | None:
    coding = [rna for rna in annotation.transcripts(gene) if rna.cds]
    return max(
        coding, key=lambda rna: (rna.canonical, sum(end - start for start, end in rna.cds)), default=None
    )


def _coding_gene(gene: Gene, transcript: Transcript, bases: str, said: Details, contig: Contig) -> CodingGene:
    # A gene over the origin of a circular contig ends after the end of the contig.
    around = bases + bases[: max(0, gene.end - len(bases))]
    sense = around[gene.start : gene.end]
    coding = "".join(around[start:end] for start, end in transcript.cds)
    if gene.strand == "-":
        sense, coding = reverse_complement(sense), reverse_complement(coding)
    name = gene.id.removeprefix("gene-").removeprefix("gene:")
    return CodingGene(
        name,
        gene.chrom,
        gene.start,
        gene.end,
        gene.strand,
        Sequence(name, sense),
        coding,
        tuple(dict.fromkeys((gene.id, name, gene.symbol, *gene.aliases))),
        said.attributes,
        gene.symbol,
        tuple(said.products),
        tuple(said.terms),
        contig,
    )
