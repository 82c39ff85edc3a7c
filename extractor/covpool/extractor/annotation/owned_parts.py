"""Owned parts: exons, CDS and UTRs in the order of genes and transcripts, and the transcripts from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import (
    CDS,
    EXON,
    SIGNS,
    STOP,
    Features,
    GeneLine,
    Parts,
    apart,
)
from covpool.extractor.annotation.features.origin import fitted, lengths_of, unrolled
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.genes import Gene, Spans, Transcript, joined, without
from covpool.extractor.annotation.ownership import Owned, Owners


@dataclass(frozen=True)
class OwnedParts:
    """Columns over all parts; those of gene g are in the rows from first[g] to first[g + 1]."""

    first: NDArray[np.int64]
    transcript: NDArray[np.int32]
    kind: NDArray[np.int8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    ids: tuple[str, ...]
    canonical: Mapping[str, int]

    def of(self, kept: list[int], genes: Sequence[Gene]) -> "OwnedParts":
        """The parts of some genes, cut at the ends of the genes."""
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
        """Transcripts of a gene, sorted by ID; those with the best mark are canonical."""
        rows = slice(int(self.first[gene]), int(self.first[gene + 1]))
        codes = self.transcript[rows]
        ordered = []
        for code in dict.fromkeys(codes.tolist()):
            chosen = codes == code
            kind, start, end = (values[rows][chosen] for values in (self.kind, self.start, self.end))
            cds = _coding(
                _blocks(start[kind == CDS], end[kind == CDS]), start[kind == STOP], end[kind == STOP]
            )
            exons = _blocks(start[kind == EXON], end[kind == EXON]) or joined(_blocks(start, end))
            ordered.append(Transcript(self.ids[code], exons, cds))
        best = min((self.canonical.get(rna.id, _UNMARKED) for rna in ordered), default=_UNMARKED)
        if best < _UNMARKED:
            ordered = [replace(rna, canonical=self.canonical.get(rna.id) == best) for rna in ordered]
        return tuple(sorted(ordered, key=lambda rna: rna.id))


_UNMARKED = 99


def _coding(cds: Spans, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Spans:
    """CDS with its stop codon. GTF leaves it out of the CDS, but some producers write it into both."""
    if not len(starts):
        return cds
    stop = without(joined(zip(starts.tolist(), ends.tolist(), strict=True)), joined(cds))
    both = np.array([*cds, *stop], np.int64).reshape(-1, 2)
    return _blocks(both[:, 0], both[:, 1])


def _blocks(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """Sorted distinct blocks. Touching blocks are merged; overlapping ones (frameshifts) are not."""
    merged: list[tuple[int, int]] = []
    for block in sorted(set(zip(start.tolist(), end.tolist(), strict=True))):
        if merged and merged[-1][1] == block[0]:
            merged[-1] = merged[-1][0], block[1]
        elif block[0] < block[1]:
            merged.append(block)
    return tuple(merged)


def owned(features: Features, owners: Owners, circles: Mapping[str, int], repairs: Repairs) -> OwnedParts:
    """Every part with its gene; parts without a gene are reported, and genes may be made for parts.

    Args:
        features: of the file.
        owners: its genes.
        circles: lengths of circular contigs in bp.
        repairs: receives the parts that do not fit.
    """
    written = apart(features.parts)
    parts = unrolled(written, circles)
    ownership = owners.of(parts)
    gene = ownership.gene[parts.parent] if len(parts) else np.zeros(0, np.int64)
    for row in np.flatnonzero(gene == -2):
        several = ownership.several[int(parts.parent[row])]
        # Pieces of a trans-spliced gene keep their places in the file; they do not cross the origin.
        places = (_place_of(placed, int(row), several, owners.genes) for placed in (parts, written))
        gene[row] = next((place for place in places if place is not None), several[0])
    _whole_circles(parts, gene, owners.genes, circles, repairs)
    return _fitted(written, parts, gene, ownership, owners.genes, circles, features.canonical, repairs)


def _fitted(
    written: Parts,
    parts: Parts,
    gene: NDArray[np.int64],
    ownership: Owned,
    genes: Sequence[GeneLine],
    circles: Mapping[str, int],
    canonical: Mapping[str, int],
    repairs: Repairs,
) -> OwnedParts:
    """Parts with a gene, cut to it; `written` are the parts as the file has them."""
    signs = np.array([SIGNS[line.strand] for line in genes], np.int8)
    chrom_codes = {name: code for code, name in enumerate(parts.chroms)}
    chroms = np.array([chrom_codes.get(line.chrom, -1) for line in genes], np.int32)
    starts = np.array([line.start for line in genes], np.int64)
    ends = np.array([line.end for line in genes], np.int64)

    def places(rows: NDArray[np.int64]) -> list[str]:
        return [
            f"{parts.parents[parts.parent[row]]} "
            f"{parts.chroms[parts.chrom[row]]}:{written.start[row]}-{written.end[row]}"
            for row in rows[:5]
        ]

    rows = np.flatnonzero(gene >= 0)
    of = gene[rows]
    strand = parts.strand[rows]
    astray = (parts.chrom[rows] != chroms[of]) | ((strand != 0) & (signs[of] != 0) & (strand != signs[of]))
    repairs.add("other-strand", *places(rows[astray]), count=int(astray.sum()))
    rows, of = rows[~astray], of[~astray]
    start, end = parts.start[rows], parts.end[rows]
    if circles and len(rows):
        lengths = lengths_of(parts.chroms, circles)[parts.chrom[rows]]
        moved = fitted(start, end, starts[of], ends[of], lengths)
        start, end = start + moved, end + moved
        turned = start != written.start[rows]
        repairs.add("over-origin", *places(rows[turned]), count=int(turned.sum()))
    apart = (end <= starts[of]) | (start >= ends[of])
    repairs.add("apart-from-gene", *places(rows[apart]), count=int(apart.sum()))
    rows, of, start, end = rows[~apart], of[~apart], start[~apart], end[~apart]
    out = (start < starts[of]) | (end > ends[of])
    repairs.add("outside-gene", *places(rows[out]), count=int(out.sum()))
    start, end = np.maximum(start, starts[of]), np.minimum(end, ends[of])
    transcript = ownership.transcript[parts.parent[rows]] if len(rows) else np.zeros(0, np.int32)
    order = np.lexsort((start, transcript, of))
    return OwnedParts(
        np.searchsorted(of[order], np.arange(len(genes) + 1)),
        transcript[order],
        parts.kind[rows][order],
        start[order],
        end[order],
        ownership.transcripts,
        canonical,
    )


def _whole_circles(
    parts: Parts,
    gene: NDArray[np.int64],
    genes: list[GeneLine],
    circles: Mapping[str, int],
    repairs: Repairs,
) -> None:
    """Cut genes that span a whole circular contig to their parts, if these cross the origin."""
    for index, line in enumerate(genes):
        length = circles.get(line.chrom, 0)
        if length and (line.start, line.end) == (0, length):
            rows = np.flatnonzero(gene == index)
            if len(rows) and parts.start[rows].min() > 0 and parts.end[rows].max() > length:
                start, end = int(parts.start[rows].min()), int(parts.end[rows].max())
                repairs.add("over-origin", f"{line.id} {line.chrom}:{start}-{end}")
                genes[index] = replace(line, start=start, end=end)


def _place_of(parts: Parts, row: int, genes: list[int], lines: Sequence[GeneLine]) -> int | None:
    """Index of the one of several places of a gene in which a part lies; None if there is none."""
    chrom, start, end = parts.chroms[parts.chrom[row]], parts.start[row], parts.end[row]
    sign = {1: "+", -1: "-"}.get(int(parts.strand[row]), "")
    for index in genes:
        line = lines[index]
        if line.chrom == chrom and sign in ("", line.strand) and line.start < end and start < line.end:
            return index
    return None
