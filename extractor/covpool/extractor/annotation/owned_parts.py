"""Owned parts: exons, CDS and UTRs in the order of their genes and transcripts, made into transcripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import CDS, EXON, STOP, Features, GeneLine, Parts
from covpool.extractor.annotation.features.origin import fitted, lengths_of, unrolled
from covpool.extractor.annotation.features.parents import apart
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.genes import Gene, Transcript
from covpool.extractor.annotation.ownership import Owned, Owners
from covpool.extractor.annotation.spans import Spans, joined, without


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
        """Transcripts of a gene, by id; those with the best mark among them are canonical."""
        rows = slice(int(self.first[gene]), int(self.first[gene + 1]))
        codes = self.transcript[rows]
        found = []
        for code in dict.fromkeys(codes.tolist()):
            chosen = codes == code
            kind, start, end = (values[rows][chosen] for values in (self.kind, self.start, self.end))
            cds = _coding(
                _blocks(start[kind == CDS], end[kind == CDS]), start[kind == STOP], end[kind == STOP]
            )
            exons = _blocks(start[kind == EXON], end[kind == EXON]) or joined(_blocks(start, end))
            found.append(Transcript(self.ids[code], exons, cds))
        best = min((self.canonical.get(one.id, _UNMARKED) for one in found), default=_UNMARKED)
        if best < _UNMARKED:
            found = [replace(one, canonical=self.canonical.get(one.id) == best) for one in found]
        return tuple(sorted(found, key=lambda one: one.id))


_UNMARKED = 99


def _coding(cds: Spans, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Spans:
    """CDS with its stop codon: GTF leaves it out of the CDS, but some producers write it into both."""
    if not len(starts):
        return cds
    stop = without(joined(zip(starts.tolist(), ends.tolist(), strict=True)), joined(cds))
    both = np.array([*cds, *stop], np.int64).reshape(-1, 2)
    return _blocks(both[:, 0], both[:, 1])


def _blocks(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """In order, each once. What touches is one; what overlaps is a programmed frameshift and stays apart."""
    found: list[tuple[int, int]] = []
    for block in sorted(set(zip(start.tolist(), end.tolist(), strict=True))):
        if found and found[-1][1] == block[0]:
            found[-1] = found[-1][0], block[1]
        elif block[0] < block[1]:
            found.append(block)
    return tuple(found)


def owned(features: Features, owners: Owners, circles: Mapping[str, int], repairs: Repairs) -> OwnedParts:
    """Every part under the gene it belongs to; parts that fit none are told of, and genes may be made.

    Args:
        features: of the file.
        owners: its genes.
        circles: lengths of circular contigs in bp.
        repairs: is told what does not fit.
    """
    written = apart(features.parts)
    parts = unrolled(written, circles)
    found = owners.of(parts)
    gene = found.gene[parts.parent] if len(parts) else np.zeros(0, np.int64)
    for row in np.flatnonzero(gene == -2):
        several = found.several[int(parts.parent[row])]
        # Pieces of a trans-spliced gene are where they are written, not around a circle.
        places = (_place_of(one, int(row), several, owners.genes) for one in (parts, written))
        gene[row] = next((place for place in places if place is not None), several[0])
    _whole_circles(parts, gene, owners.genes, circles, repairs)
    return _fitted(written, parts, gene, found, owners.genes, circles, features.canonical, repairs)


def _fitted(
    written: Parts,
    parts: Parts,
    gene: NDArray[np.int64],
    found: Owned,
    genes: Sequence[GeneLine],
    circles: Mapping[str, int],
    canonical: Mapping[str, int],
    repairs: Repairs,
) -> OwnedParts:
    """Parts with a gene, in its reach; `written` is as the file has them."""
    signs = np.array([{"+": 1, "-": -1}.get(one.strand, 0) for one in genes], np.int8)
    chrom_codes = {name: code for code, name in enumerate(parts.chroms)}
    chroms = np.array([chrom_codes.get(one.chrom, -1) for one in genes], np.int32)
    starts = np.array([one.start for one in genes], np.int64)
    ends = np.array([one.end for one in genes], np.int64)

    def told(rows: NDArray[np.int64]) -> list[str]:
        return [
            f"{parts.parents[parts.parent[row]]} "
            f"{parts.chroms[parts.chrom[row]]}:{written.start[row]}-{written.end[row]}"
            for row in rows[:5]
        ]

    rows = np.flatnonzero(gene >= 0)
    of = gene[rows]
    strand = parts.strand[rows]
    astray = (parts.chrom[rows] != chroms[of]) | ((strand != 0) & (signs[of] != 0) & (strand != signs[of]))
    repairs.add_all("other-strand", told(rows[astray]), int(astray.sum()))
    rows, of = rows[~astray], of[~astray]
    start, end = parts.start[rows], parts.end[rows]
    if circles and len(rows):
        lengths = lengths_of(parts.chroms, circles)[parts.chrom[rows]]
        moved = fitted(start, end, starts[of], ends[of], lengths)
        start, end = start + moved, end + moved
        turned = start != written.start[rows]
        repairs.add_all("over-origin", told(rows[turned]), int(turned.sum()))
    apart = (end <= starts[of]) | (start >= ends[of])
    repairs.add_all("apart-from-gene", told(rows[apart]), int(apart.sum()))
    rows, of, start, end = rows[~apart], of[~apart], start[~apart], end[~apart]
    out = (start < starts[of]) | (end > ends[of])
    repairs.add_all("outside-gene", told(rows[out]), int(out.sum()))
    start, end = np.maximum(start, starts[of]), np.minimum(end, ends[of])
    transcript = found.transcript[parts.parent[rows]] if len(rows) else np.zeros(0, np.int32)
    order = np.lexsort((start, transcript, of))
    return OwnedParts(
        np.searchsorted(of[order], np.arange(len(genes) + 1)),
        transcript[order],
        parts.kind[rows][order],
        start[order],
        end[order],
        found.transcripts,
        canonical,
    )


def _whole_circles(
    parts: Parts,
    gene: NDArray[np.int64],
    genes: list[GeneLine],
    circles: Mapping[str, int],
    repairs: Repairs,
) -> None:
    """Cut genes that are written all around a circle to their parts, where these go over the origin."""
    for index, line in enumerate(genes):
        length = circles.get(line.chrom, 0)
        if length and (line.start, line.end) == (0, length):
            rows = np.flatnonzero(gene == index)
            if len(rows) and parts.start[rows].min() > 0 and parts.end[rows].max() > length:
                start, end = int(parts.start[rows].min()), int(parts.end[rows].max())
                repairs.add("over-origin", f"{line.id} {line.chrom}:{start}-{end}")
                genes[index] = replace(line, start=start, end=end)


def _place_of(parts: Parts, row: int, genes: list[int], lines: Sequence[GeneLine]) -> int | None:
    """Of the places of one gene, the one that a part lies in."""
    chrom, start, end = parts.chroms[parts.chrom[row]], parts.start[row], parts.end[row]
    sign = {1: "+", -1: "-"}.get(int(parts.strand[row]), "")
    for index in genes:
        line = lines[index]
        if line.chrom == chrom and sign in ("", line.strand) and line.start < end and start < line.end:
            return index
    return None
