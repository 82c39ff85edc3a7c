"""Registrations: assemblies and their genes, and the rows of the tables that hold them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.repairs import Finding
from covpool.extractor.annotation.genes import Gene
from covpool.extractor.annotation.spans import Spans
from covpool.extractor.extraction.regions import WHOLE

LONGEST_NAME = 255

#: Classes that follow from a gene's interval alone.
PLAIN = frozenset((WHOLE, "gene", "upstream", "downstream"))
#: Classes that covpool 0.1 knew, which left them out where a gene has no base of them.
FIRST = frozenset(
    ("exon", "five_prime_UTR", "CDS", "three_prime_UTR", "noncoding_exon", "intron", "unspliced")
)

#: Where the digest of a gene's bases stands among its classes, none of which is called so.
_DIGEST = "digest"


@dataclass(frozen=True)
class Registration:
    """A registered assembly.

    Attributes:
        name: what requests call it.
        fasta: where this host finds its FASTA file.
        digest: SHA-256 of that file.
        contigs: lengths in bp by name.
        aliases: other names of contigs.
        circular: contigs that are circular.
        annotation: where this host finds its annotation; None without one.
        annotation_digest: SHA-256 of that file.
        release: of the annotation; "" where it is not said.
        report: what of the annotation was repaired or skipped.
        genes: how many genes of it are known.
    """

    name: str
    fasta: Path
    digest: str
    contigs: dict[str, int]
    aliases: dict[str, str]
    circular: frozenset[str]
    annotation: Path | None
    annotation_digest: str | None
    release: str
    report: tuple[Finding, ...]
    genes: int


@dataclass(frozen=True)
class KnownGene:
    """A gene as it is registered.

    Attributes:
        gene: with its place.
        classes: of its own bases, on the contig; None where it was registered before they were kept.
        digest: of its own bases; None where they are not DNA, or it was registered before it was kept.
    """

    gene: Gene
    classes: Mapping[str, Spans] | None
    digest: str | None

    @property
    def own(self) -> Mapping[str, Spans]:
        """Spans of its own classes, as far as they are known."""
        return {"gene": ((self.gene.start, self.gene.end),)} | dict(self.classes or {})

    def unknown(self, asked: Iterable[str]) -> list[str]:
        """Classes asked for that were not worked out when it was registered."""
        known = PLAIN if self.classes is None else PLAIN | FIRST | self.classes.keys()
        return [name for name in asked if name not in known]


def gene_row(genome: str, known: KnownGene) -> dict[str, Any]:
    """A gene as a row of its table."""
    gene = known.gene
    return {
        "genome": genome,
        "id": gene.id,
        "symbol": gene.symbol,
        "chrom": gene.chrom,
        "start": gene.start,
        "end": gene.end,
        "strand": gene.strand,
        "biotype": gene.biotype,
        "aliases": json.dumps(gene.aliases),
        "classes": json.dumps({**(known.classes or {}), _DIGEST: known.digest}, separators=(",", ":")),
    }


def name_rows(genome: str, gene: Gene) -> Iterator[dict[str, Any]]:
    """Its names as rows of theirs."""
    ranks = dict.fromkeys(gene.aliases, 2) | {gene.symbol: 1} | {gene.id: 0}
    for name, rank in ranks.items():
        if name and len(name) <= LONGEST_NAME:
            yield {"genome": genome, "name": name, "gene": gene.id, "rank": rank}


def gene_of(row: Any) -> Gene:
    """The gene of a row."""
    aliases = tuple(json.loads(row.aliases))
    return Gene(row.id, row.symbol, row.chrom, row.start, row.end, row.strand, aliases, row.biotype)


def known_gene_of(row: Any) -> KnownGene:
    """The gene of a row, with what is kept of its bases."""
    if row.classes is None:
        return KnownGene(gene_of(row), None, None)
    found = json.loads(row.classes)
    digest = found.pop(_DIGEST, None)
    classes = {name: tuple((start, end) for start, end in spans) for name, spans in found.items()}
    return KnownGene(gene_of(row), classes, digest)


def registration_of(row: Any) -> Registration:
    """The assembly of a row."""
    return Registration(
        row.name,
        Path(row.fasta),
        row.digest,
        json.loads(row.contigs),
        json.loads(row.aliases),
        frozenset(json.loads(row.circular)),
        None if row.annotation is None else Path(row.annotation),
        row.annotation_digest,
        row.release,
        tuple(Finding(one["kind"], one["count"], tuple(one["examples"])) for one in json.loads(row.report)),
        row.genes,
    )
