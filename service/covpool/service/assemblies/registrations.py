"""Registrations: assemblies and their genes, and their rows in the tables."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.repairs import Finding
from covpool.extractor.annotation.genes import Gene, Spans
from covpool.extractor.extraction.selections import WHOLE

LONGEST_NAME = 255

#: Selections that depend only on the interval of a gene.
PLAIN = frozenset((WHOLE, "gene", "upstream", "downstream"))
#: The other selections of covpool 0.1, which did not store empty ones.
FIRST = frozenset(
    ("exon", "five_prime_UTR", "CDS", "three_prime_UTR", "noncoding_exon", "intron", "unspliced")
)

#: Name of the digest of a gene's bases among its selections; no selection has this name.
_DIGEST = "digest"


@dataclass(frozen=True)
class Registration:
    """A registered assembly.

    Attributes:
        name: its name in requests.
        fasta: path of its FASTA file on this host.
        digest: SHA-256 of that file.
        contigs: lengths in bp by name.
        aliases: other names of contigs.
        circular: circular contigs.
        annotation: path of its annotation on this host; None without one.
        annotation_digest: SHA-256 of that file.
        release: of the annotation; "" if not stated.
        report: repairs and skipped parts of the annotation.
        genes: number of its genes.
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
    """A registered gene.

    Attributes:
        gene: with its place.
        classes: selections of its own bases, on the contig; None for registrations without them.
        digest: of its own bases; None if they are not DNA, or for registrations without digests.
    """

    gene: Gene
    classes: Mapping[str, Spans] | None
    digest: str | None

    @property
    def own(self) -> Mapping[str, Spans]:
        """Spans of its stored selections, and of the gene itself."""
        return {"gene": ((self.gene.start, self.gene.end),)} | dict(self.classes or {})

    def unknown(self, requested: Iterable[str]) -> list[str]:
        """Requested selections that were not known at registration."""
        known = PLAIN if self.classes is None else PLAIN | FIRST | self.classes.keys()
        return [name for name in requested if name not in known]


def gene_row(genome: str, item: KnownGene) -> dict[str, Any]:
    """A gene as a row of its table."""
    return asdict(item.gene) | {
        "genome": genome,
        "aliases": json.dumps(item.gene.aliases),
        "classes": json.dumps({**(item.classes or {}), _DIGEST: item.digest}, separators=(",", ":")),
    }


def name_rows(genome: str, gene: Gene) -> Iterator[dict[str, Any]]:
    """The names of a gene as rows of the table of names."""
    ranks = dict.fromkeys(gene.aliases, 2) | {gene.symbol: 1} | {gene.id: 0}
    for name, rank in ranks.items():
        if name and len(name) <= LONGEST_NAME:
            yield {"genome": genome, "name": name, "gene": gene.id, "rank": rank}


def gene_of(row: Any) -> Gene:
    """The gene of a row."""
    aliases = tuple(json.loads(row.aliases))
    return Gene(row.id, row.symbol, row.chrom, row.start, row.end, row.strand, aliases, row.biotype)


def known_gene_of(row: Any) -> KnownGene:
    """The gene of a row, with its selections and digest."""
    if row.classes is None:
        return KnownGene(gene_of(row), None, None)
    classes = json.loads(row.classes)
    digest = classes.pop(_DIGEST, None)
    spans_by_class = {name: tuple((start, end) for start, end in spans) for name, spans in classes.items()}
    return KnownGene(gene_of(row), spans_by_class, digest)


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
        tuple(Finding(x["kind"], x["count"], tuple(x["examples"])) for x in json.loads(row.report)),
        row.genes,
    )
