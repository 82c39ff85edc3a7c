"""Annotation: the genes of a file and their transcripts, with a report of what had to be repaired."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from urllib.parse import unquote

from covpool.extractor.annotation.contigs import report_lengths, translation
from covpool.extractor.annotation.features.features import Features, GeneLine
from covpool.extractor.annotation.features.origin import straighten
from covpool.extractor.annotation.features.repairs import Finding, Repairs
from covpool.extractor.annotation.formats.bed import read_bed
from covpool.extractor.annotation.formats.genbank import read_genbank
from covpool.extractor.annotation.formats.gff3 import read_gff3
from covpool.extractor.annotation.formats.gtf import read_gtf
from covpool.extractor.annotation.formats.lines import format_of
from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.owned_parts import OwnedParts, owned
from covpool.extractor.annotation.ownership import Owners
from covpool.extractor.errors import AnnotationError

_READERS: dict[str, Callable[[Path, Repairs], Features]] = {
    "gff3": read_gff3,
    "gtf": read_gtf,
    "bed": read_bed,
    "genbank": read_genbank,
}

#: A database keeps the IDs of genes in columns of this many characters.
_LONGEST_ID = 255


@dataclass(frozen=True)
class Annotation:
    """The genes of a file, in file order.

    Attributes:
        genes: each has a unique ID.
        format: gff3, gtf, bed or genbank.
        report: what was repaired or skipped, by kind of flaw.
        circular: contigs that the file or the caller declares circular.
        contigs: names in the FASTA file by the names in this file, for contigs with genes.
    """

    genes: tuple[Gene, ...]
    format: str
    report: tuple[Finding, ...]
    circular: frozenset[str]
    contigs: dict[str, str]
    _parts: OwnedParts

    def transcripts(self, gene: Gene) -> tuple[Transcript, ...]:
        """The transcripts of a gene of this annotation, sorted by ID; () if the gene has no parts.

        Raises:
            AnnotationError: the gene is not of this annotation.
        """
        try:
            index = self._index[gene.id]
        except KeyError:
            raise AnnotationError(f"gene {gene.id}: is not of this annotation") from None
        return self._parts.transcripts(index)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {gene.id: index for index, gene in enumerate(self.genes)}


def read_annotation(
    path: str | PathLike[str],
    contigs: Mapping[str, int] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    circular: frozenset[str] = frozenset(),
    strict: bool = False,
) -> Annotation:
    """Genes, transcripts and their parts of a GFF3, GTF, BED or GenBank file; plain, gzip, bgzip, bzip2, xz.

    The format is recognised from the lines of the file, not from its name. Lines may come in any order.
    Single bad lines are repaired or skipped; `report` lists them.

    Args:
        path: the file.
        contigs: lengths in bp by the names in the FASTA file. If given, contigs are translated to these
            names, and genes are cut at the end of their contig.
        aliases: names in the FASTA file by other names of contigs.
        circular: circular contigs, in addition to those that the file declares circular.
        strict: refuse a file in which anything must be repaired or skipped.

    Raises:
        AnnotationError: the file cannot be read, has none of these formats, holds no gene, or has no gene on
            a contig of the FASTA file; with `strict`, anything in it had to be repaired.
    """
    path = Path(path)
    kind = format_of(path)
    repairs = Repairs()
    features = _READERS[kind](path, repairs)
    others = aliases or {}
    if kind == "gff3":
        features.call(partial(_unescaped, kept=(contigs or {}).keys() | others.keys()))
    names, lengths = _contigs(features, contigs, others, repairs)
    around = circular | {names[name] for name in features.circular if name in names}
    circles = {name: lengths[name] for name, contig in names.items() if contig in around and name in lengths}
    straighten(features, circles, repairs)
    owners = Owners(features, circles, repairs)
    parts = owned(features, owners, circles, repairs)
    placed = dict.fromkeys(gene.chrom for gene in owners.genes)
    names = {name: names[name] for name in [*placed, *features.circular] if name in names}
    for name, contig in names.items():
        if name != contig and name not in others:
            repairs.add("contig-renamed", f"{name} to {contig}")
    genes_or_none = [_gene(line, names, contigs, around, repairs) for line in owners.genes]
    if strict:
        repairs.refuse(str(path))
    _check(path, placed, names, contigs, repairs)
    genes = [gene for gene in genes_or_none if gene is not None]
    kept = parts.of([index for index, gene in enumerate(genes_or_none) if gene is not None], genes)
    return Annotation(tuple(genes), kind, repairs.findings(), around, names, kept)


def _contigs(
    features: Features, contigs: Mapping[str, int] | None, aliases: Mapping[str, str], repairs: Repairs
) -> tuple[dict[str, str], dict[str, int]]:
    """FASTA names and lengths of the contigs of an annotation; its own names if there is no FASTA file."""
    used = dict.fromkeys([line.chrom for line in features.genes] + features.parts.chroms)
    used |= dict.fromkeys([*features.circular, *features.lengths])
    if contigs is None:
        return {name: name for name in used}, features.lengths
    names = translation(used, contigs, aliases, features.other_names, features.lengths)
    report_lengths(features, names, contigs, repairs)
    return names, {name: contigs[contig] for name, contig in names.items()}


def _check(
    path: Path,
    placed: Mapping[str, None],
    names: Mapping[str, str],
    contigs: Mapping[str, int] | None,
    repairs: Repairs,
) -> None:
    """Refuse a file without genes, or without a gene on a contig of the FASTA file."""
    if not placed:
        findings = "".join(f"; {finding}" for finding in repairs.findings()[:3])
        raise AnnotationError(f"{path}: holds no gene{findings}; give GFF3, GTF, BED or GenBank with genes")
    if not any(name in names for name in placed):
        unlike = [example for finding in repairs.findings("contig-unlike") for example in finding.examples]
        remedy = f"{'; '.join(unlike)}; give the FASTA it was made for" if unlike else "give an alias table"
        raise AnnotationError(
            f"{path}: its genes lie on {_some(placed)}, the FASTA holds {_some(contigs or {})}; {remedy}"
        )


def _unescaped(name: str, kept: Set[str]) -> str:
    """The contig name without the escapes of GFF3 1.26; a name that the FASTA file has is kept as it is."""
    return name if name in kept else unquote(name)


def _gene(
    line: GeneLine,
    names: Mapping[str, str],
    contigs: Mapping[str, int] | None,
    circular: frozenset[str],
    repairs: Repairs,
) -> Gene | None:
    chrom = names.get(line.chrom)
    where = f"{line.id} {line.chrom}:{line.start}-{line.end}"
    if len(line.id) > _LONGEST_ID:
        repairs.add("long-id", where)
        return None
    if chrom is None:
        repairs.add("contig-unknown", where)
        return None
    start, end = line.start, line.end
    if contigs is not None:
        length = contigs[chrom]
        if start >= length:
            repairs.add("behind-contig", where)
            return None
        # On a circular contig a gene may continue past the origin, at most once around.
        limit = start + length if chrom in circular else length
        if end > limit:
            repairs.add("contig-end", where)
            end = limit
    if line.strand == ".":
        repairs.add("no-strand", line.id)
    symbol = line.symbol or line.id
    aliases = tuple(name for name in line.aliases if name not in (line.id, symbol))
    return Gene(line.id, symbol, chrom, start, end, "-" if line.strand == "-" else "+", aliases, line.biotype)


def _some(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
