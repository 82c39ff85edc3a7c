"""Coding genes of a genome: FASTA and GFF3 in, sense-strand sequences in genome order out.

Convention: positions are 0-based half-open (GFF3 itself is 1-based inclusive); sequences read 5' to 3'.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covpool.extractor.annotation.gff3 import attributes_of, features
from covpool.extractor.errors import AnnotationError
from covpool.extractor.fasta import read_fasta
from covpool.extractor.sequences import Sequence, reverse_complement

#: GFF3 attributes that hold names of a gene, besides its ID.
NAME_ATTRIBUTES = ("locus_tag", "Name", "gene", "Alias", "gene_id", "gene_synonym")

Attributes = Mapping[str, list[str]]


@dataclass(frozen=True)
class CodingGene:
    """One gene with a coding sequence.

    Attributes:
        name: its GFF3 ID without a "gene-" or "gene:" prefix.
        chrom, start, end, strand: where it lies.
        sequence: the whole gene on its own strand, introns included.
        coding: its longest coding sequence, spliced, from the first whole codon on.
        names: every name that a gene-term table may call it by.
        attributes: of its GFF3 line.
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


@dataclass(frozen=True)
class _Row:
    chrom: str
    kind: str
    start: int
    end: int
    strand: str
    phase: int
    attributes: Attributes

    def first(self, name: str) -> str:
        return next(iter(self.attributes.get(name, ())), "")


def read_coding_genes(
    fasta: Path, gff3: Path, *, leave_out: Iterable[tuple[str, str]] = ()
) -> list[CodingGene]:
    """Genes that have CDS lines, by contig (in the order of the FASTA file), start and end.

    A CDS belongs to the gene that its chain of Parents leads to. Where a Parent is missing from the file,
    it belongs to the gene around it on its strand whose ID begins that Parent's.

    Args:
        fasta: the genome.
        gff3: its annotation; plain or gzip.
        leave_out: attributes and values that leave a gene out (`("orf_classification", "Dubious")`).

    Raises:
        SequenceError: the FASTA file is unfit.
        AnnotationError: the GFF3 file is damaged, names contigs that the FASTA file lacks or reaches beyond
            their ends, or holds no coding gene.
    """
    contigs = {record.name: record.bases for record in read_fasta(fasta)}
    rows = list(_rows(gff3))
    genes = {row.first("ID"): row for row in rows if row.kind == "gene" and row.first("ID")}
    parents = {row.first("ID"): row.first("Parent") for row in rows if row.first("ID")}
    around: dict[tuple[str, str], list[tuple[str, _Row]]] = defaultdict(list)
    for identity, row in genes.items():
        around[row.chrom, row.strand].append((identity, row))
    coding: dict[str, dict[str, list[_Row]]] = defaultdict(lambda: defaultdict(list))
    owners: dict[str, str] = {}
    for row in rows:
        if row.kind != "CDS":
            continue
        for parent in row.attributes.get("Parent", ()):
            if parent not in owners:
                owners[parent] = _owner(parent, parents, genes) or _enclosing(
                    parent, row, around[row.chrom, row.strand]
                )
            if owners[parent]:
                coding[owners[parent]][parent].append(row)
    unwanted = list(leave_out)
    found = [
        _gene(identity, genes[identity], transcripts, contigs, gff3)
        for identity, transcripts in coding.items()
        if not any(value in genes[identity].attributes.get(name, ()) for name, value in unwanted)
    ]
    if not found:
        raise AnnotationError(f"{gff3}: holds no gene with CDS lines; give a GFF3 file with gene and CDS")
    order = {name: index for index, name in enumerate(contigs)}
    return sorted(found, key=lambda gene: (order[gene.chrom], gene.start, gene.end, gene.name))


def _rows(path: Path) -> Iterator[_Row]:
    for number, columns in features(path):
        try:
            start, end = int(columns[3]) - 1, int(columns[4])
        except ValueError:
            raise AnnotationError(
                f"{path}, line {number}: {columns[3]!r} and {columns[4]!r} are no coordinates"
            ) from None
        if not 0 <= start < end:
            raise AnnotationError(
                f"{path}, line {number}: {columns[3]} to {columns[4]} is no interval; GFF3 counts from 1 and "
                "start is not above end"
            )
        phase = int(columns[7]) if columns[7] in ("0", "1", "2") else 0
        yield _Row(columns[0], columns[2], start, end, columns[6], phase, attributes_of(columns[8]))


def _owner(identity: str, parents: Mapping[str, str], genes: Mapping[str, _Row]) -> str:
    seen: set[str] = set()
    while identity and identity not in genes and identity not in seen:
        seen.add(identity)
        identity = parents.get(identity, "")
    return identity if identity in genes else ""


def _enclosing(parent: str, row: _Row, around: list[tuple[str, _Row]]) -> str:
    fitting = [
        identity
        for identity, gene in around
        if parent.startswith(identity) and gene.start <= row.start and row.end <= gene.end
    ]
    return max(fitting, key=len, default="")


def _gene(
    identity: str, row: _Row, transcripts: Mapping[str, list[_Row]], contigs: Mapping[str, str], gff3: Path
) -> CodingGene:
    name = identity.removeprefix("gene-").removeprefix("gene:")
    if row.chrom not in contigs:
        known = ", ".join(list(contigs)[:3])
        raise AnnotationError(
            f"{gff3}: gene {name} lies on {row.chrom!r}, which the FASTA file does not hold (it has {known}, "
            "...); give files that name contigs alike"
        )
    contig = contigs[row.chrom]
    if row.end > len(contig):
        raise AnnotationError(
            f"{gff3}: gene {name} ends at {row.end:,}, beyond {row.chrom} of {len(contig):,} bases; "
            "annotation and sequence are of different assemblies"
        )
    reverse = row.strand == "-"
    bases = contig[row.start : row.end]
    longest = max(transcripts.values(), key=lambda parts: sum(part.end - part.start for part in parts))
    parts = sorted(longest, key=lambda part: part.start, reverse=reverse)
    spliced = "".join(
        reverse_complement(contig[part.start : part.end]) if reverse else contig[part.start : part.end]
        for part in parts
    )
    names = [identity, name]
    names += [value for key in NAME_ATTRIBUTES for value in row.attributes.get(key, ())]
    return CodingGene(
        name,
        row.chrom,
        row.start,
        row.end,
        row.strand,
        Sequence(name, reverse_complement(bases) if reverse else bases),
        spliced[parts[0].phase :],
        tuple(dict.fromkeys(names)),
        row.attributes,
    )
