"""Annotation: the genes of a file and their transcripts, with a report of what had to be repaired."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.bed_features import read_bed
from covpool.extractor.annotation.contigs import translation
from covpool.extractor.annotation.features import CDS, EXON, Features, GeneLine, Parts
from covpool.extractor.annotation.genbank_features import read_genbank
from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.gff3_features import read_gff3
from covpool.extractor.annotation.gtf_features import read_gtf
from covpool.extractor.annotation.lines import first_line
from covpool.extractor.annotation.ownership import Owners, extents
from covpool.extractor.annotation.repairs import Finding, Repairs
from covpool.extractor.annotation.spans import Spans
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
    """Genes of a file, in its order.

    Attributes:
        genes: each with an id of its own.
        format: gff3, gtf, bed or genbank.
        report: what was repaired or skipped, by kind.
        circular: contigs said to be circular.
        contigs: names in the FASTA file by those in this file, of contigs with genes.
    """

    genes: tuple[Gene, ...]
    format: str
    report: tuple[Finding, ...]
    circular: frozenset[str]
    contigs: dict[str, str]
    _parts: "_OwnedParts"

    def transcripts(self, gene: Gene) -> tuple[Transcript, ...]:
        """The transcripts of a gene of this annotation, by id; () where it has no parts.

        Raises:
            AnnotationError: it is no gene of this annotation.
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
    path: Path,
    contigs: Mapping[str, int] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    circular: frozenset[str] = frozenset(),
    strict: bool = False,
) -> Annotation:
    """Genes, transcripts and their parts of a GFF3, GTF, BED or GenBank file; plain, gzip or bgzip.

    The format is told by the first line. Lines may come in any order. What is wrong with single lines is
    repaired, or they are skipped, as `report` tells.

    Args:
        path: the file.
        contigs: lengths in bp by the names in the FASTA file; with them, contigs are translated to these
            names, and genes are cut at the end of their contig.
        aliases: names in the FASTA file by other names of contigs.
        circular: contigs that are circular, in addition to those the file says are.
        strict: refuse a file with anything to repair or skip.

    Raises:
        AnnotationError: the file cannot be read, is of no such format, holds no gene, or none on a contig
            of the FASTA file; with `strict`, anything in it had to be repaired.
    """
    kind = _format(path)
    repairs = Repairs()
    features = _READERS[kind](path, repairs)
    owners = Owners(features, repairs)
    owned = _owned(features, owners, repairs)
    if not owners.genes:
        if strict:
            repairs.refuse(str(path))
        raise AnnotationError(f"{path}: holds no gene; give GFF3, GTF, BED or GenBank with genes")
    around = circular | features.circular
    names = {gene.chrom: gene.chrom for gene in owners.genes}
    if contigs is not None:
        used = [*names, *features.circular]
        names = translation(used, contigs, aliases or {}, features.other_names)
        for name, contig in names.items():
            if name != contig and name not in (aliases or {}):
                repairs.add("contig-renamed", f"{name} to {contig}")
        around = circular | {names[name] for name in features.circular if name in names}
        if not any(gene.chrom in names for gene in owners.genes):
            places = _some(gene.chrom for gene in owners.genes)
            raise AnnotationError(
                f"{path}: its genes lie on {places}, the FASTA holds {_some(contigs)}; give an alias table"
            )
    genes: list[Gene] = []
    kept: list[int] = []
    for index, line in enumerate(owners.genes):
        gene = _gene(line, names, contigs, around, repairs)
        if gene is not None:
            genes.append(gene)
            kept.append(index)
    if strict:
        repairs.refuse(str(path))
    return Annotation(tuple(genes), kind, repairs.findings(), around, names, owned.of(kept, genes))


def _format(path: Path) -> str:
    line = first_line(path)
    columns = line.split("\t")
    if line.startswith("LOCUS "):
        return "genbank"
    if len(columns) >= 3 and all(one.strip().isdigit() for one in columns[1:3]):
        return "bed"
    if len(columns) >= 9 and "=" not in columns[8].split('"')[0] and " " in columns[8].strip():
        return "gtf"
    return "gff3"


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
        # On a circle a gene may go on behind the origin, once around.
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


@dataclass(frozen=True)
class _OwnedParts:
    """Parts in the order of their genes and transcripts; `first[g]` is where gene g begins."""

    first: NDArray[np.int64]
    transcript: NDArray[np.int32]
    kind: NDArray[np.int8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    ids: tuple[str, ...]
    canonical: frozenset[str]

    def of(self, kept: list[int], genes: list[Gene]) -> "_OwnedParts":
        """Those of some genes, cut where the genes were."""
        counts = np.diff(self.first)[kept] if kept else np.zeros(0, np.int64)
        first = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(self.first[:-1][kept] - first[:-1], counts) + np.arange(first[-1])
        ends = np.repeat(np.array([gene.end for gene in genes], np.int64), counts)
        return replace(
            self,
            first=first,
            transcript=self.transcript[rows],
            kind=self.kind[rows],
            start=np.minimum(self.start[rows], ends),
            end=np.minimum(self.end[rows], ends),
        )

    def transcripts(self, gene: int) -> tuple[Transcript, ...]:
        rows = slice(int(self.first[gene]), int(self.first[gene + 1]))
        codes = self.transcript[rows]
        found = []
        for code in dict.fromkeys(codes.tolist()):
            chosen = codes == code
            kind, start, end = (values[rows][chosen] for values in (self.kind, self.start, self.end))
            cds = _blocks(start[kind == CDS], end[kind == CDS])
            exons = kind == EXON if (kind == EXON).any() else np.ones(len(kind), bool)
            name = self.ids[code]
            found.append(Transcript(name, _blocks(start[exons], end[exons]), cds, name in self.canonical))
        return tuple(sorted(found, key=lambda one: one.id))


def _blocks(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """In order, each once. What touches is one; what overlaps is a programmed frameshift and stays apart."""
    found: list[tuple[int, int]] = []
    for block in sorted(set(zip(start.tolist(), end.tolist(), strict=True))):
        if found and found[-1][1] == block[0]:
            found[-1] = found[-1][0], block[1]
        elif block[0] < block[1]:
            found.append(block)
    return tuple(found)


def _owned(features: Features, owners: Owners, repairs: Repairs) -> _OwnedParts:
    """Every part under the gene it belongs to; parts that fit none are told of."""
    parts = features.parts
    owner, several, codes, ids = _owners_of_parents(parts, owners)
    gene = owner[parts.parent] if len(parts) else np.zeros(0, np.int64)
    for row in np.flatnonzero(gene == -2):
        gene[row] = _place_of(parts, int(row), several[int(parts.parent[row])], owners.genes)
    number = len(owners.genes)
    signs = np.array([{"+": 1, "-": -1}.get(one.strand, 0) for one in owners.genes], np.int8)
    chrom_codes = {name: code for code, name in enumerate(parts.chroms)}
    chroms = np.array([chrom_codes.get(one.chrom, -1) for one in owners.genes], np.int32)
    starts = np.array([one.start for one in owners.genes], np.int64)
    ends = np.array([one.end for one in owners.genes], np.int64)

    def told(rows: NDArray[np.int64]) -> list[str]:
        return [
            f"{parts.parents[parts.parent[row]]} "
            f"{parts.chroms[parts.chrom[row]]}:{parts.start[row]}-{parts.end[row]}"
            for row in rows[:5]
        ]

    rows = np.flatnonzero(gene >= 0)
    of = gene[rows]
    strand = parts.strand[rows]
    astray = (parts.chrom[rows] != chroms[of]) | ((strand != 0) & (signs[of] != 0) & (strand != signs[of]))
    repairs.add_all("other-strand", told(rows[astray]), int(astray.sum()))
    rows, of = rows[~astray], of[~astray]
    start, end = parts.start[rows], parts.end[rows]
    apart = (end <= starts[of]) | (start >= ends[of])
    repairs.add_all("apart-from-gene", told(rows[apart]), int(apart.sum()))
    rows, of, start, end = rows[~apart], of[~apart], start[~apart], end[~apart]
    out = (start < starts[of]) | (end > ends[of])
    repairs.add_all("outside-gene", told(rows[out]), int(out.sum()))
    start, end = np.maximum(start, starts[of]), np.minimum(end, ends[of])
    transcript = codes[parts.parent[rows]] if len(rows) else np.zeros(0, np.int32)
    order = np.lexsort((start, transcript, of))
    first = np.searchsorted(of[order], np.arange(number + 1))
    return _OwnedParts(
        first,
        transcript[order],
        parts.kind[rows][order],
        start[order],
        end[order],
        tuple(ids),
        frozenset(features.canonical),
    )


def _owners_of_parents(
    parts: Parts, owners: Owners
) -> tuple[NDArray[np.int64], dict[int, list[int]], NDArray[np.int32], list[str]]:
    """By code of a parent: its gene (-1 none, -2 several, which are listed), and its transcript."""
    owner = np.full(len(parts.parents), -1, np.int64)
    codes = np.zeros(len(parts.parents), np.int32)
    several: dict[int, list[int]] = {}
    ids: dict[str, int] = {}
    for code, extent in enumerate(extents(parts)):
        genes, transcript = owners.of(parts.parents[code], extent)
        codes[code] = ids.setdefault(transcript, len(ids))
        if len(genes) == 1:
            owner[code] = genes[0]
        elif genes:
            owner[code] = -2
            several[code] = genes
    return owner, several, codes, list(ids)


def _place_of(parts: Parts, row: int, genes: list[int], lines: list[GeneLine]) -> int:
    """Of the places of one gene, the one that a part lies in; the first when it lies in none."""
    chrom, start, end = parts.chroms[parts.chrom[row]], parts.start[row], parts.end[row]
    sign = {1: "+", -1: "-"}.get(int(parts.strand[row]), "")
    for index in genes:
        line = lines[index]
        if line.chrom == chrom and sign in ("", line.strand) and line.start < end and start < line.end:
            return index
    return genes[0]
