"""Ownership: the gene and transcript of each part, through parents that may be missing or wrong.

Genes come from lines and transcripts with one name: one gene per place, each with a unique ID.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import (
    SIGNS,
    Description,
    Extent,
    Features,
    GeneLine,
    Parts,
    Strand,
    extents,
)
from covpool.extractor.annotation.features.origin import stretch_of
from covpool.extractor.annotation.features.repairs import Repairs


def united(
    lines: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs
) -> list[tuple[str, GeneLine]]:
    """The ID in the file and one line, with a unique ID, for each gene.

    GFF3 1.26: lines with one ID are one feature. Those on one strand of a contig become the gene that spans
    them, on a circular contig the shorter way around. Those on several strands or contigs, or of a
    trans-spliced gene, share no contiguous sequence: each is a separate gene, ID, ID~2, ID~3, …. If an ID is
    only a name (BED, /gene of GenBank), lines that do not overlap are separate genes as well.

    Args:
        lines: in file order.
        circles: lengths of circular contigs in bp.
        repairs: receives every change.
    """
    named: dict[str, list[GeneLine]] = {}
    for line in lines:
        identity = line.called
        if not line.id:
            repairs.add("no-id", identity)
            line = replace(line, id=identity)
        named.setdefault(identity, []).append(line)
    identified: list[tuple[str, GeneLine]] = []
    for identity, same in named.items():
        places = _places(same, circles, repairs) if len(same) > 1 else same
        if len(places) > 1:
            repairs.add("several-places", identity)
        identified += [
            (identity, free_name(line, identity, number, named))
            for number, line in enumerate(places, start=1)
        ]
    return identified


def made(
    identity: str, extents: Sequence[Extent], circles: Mapping[str, int], described: Description | None
) -> list[tuple[GeneLine, list[int]]]:
    """Genes for the transcripts of one gene without a line, and the indices of the transcripts of each.

    Transcripts that overlap or touch are of one gene; UCSC gives distant copies of a gene the same gene_id.
    """
    about = described or Description()
    strands: dict[tuple[str, int], list[int]] = {}
    for index, (chrom, sign, _, _) in enumerate(extents):
        strands.setdefault((chrom, sign), []).append(index)
    genes = []
    for (chrom, sign), indices in strands.items():
        strand: Strand = "+" if sign > 0 else "-" if sign < 0 else "."
        spans = [extents[index][2:] for index in indices]
        for start, end, members in _clusters(spans, circles.get(chrom, 0)):
            line = GeneLine(
                identity, about.symbol or identity, chrom, start, end, strand, about.aliases, about.biotype
            )
            genes.append((line, [indices[at] for at in members]))
    return genes


def free_name(line: GeneLine, identity: str, number: int, taken: Mapping[str, object]) -> GeneLine:
    """`line` with the ID identity, or identity~number from the second place on."""
    if number == 1:
        return line
    name = f"{identity}~{number}"
    while name in taken:
        name += "~"
    return replace(line, id=name, aliases=(*line.aliases, identity))


def _places(same: Sequence[GeneLine], circles: Mapping[str, int], repairs: Repairs) -> list[GeneLine]:
    places: list[GeneLine] = []
    for line in sorted(same, key=lambda gene_line: gene_line.start) if same[0].only_named else same:
        at = _same_place(line, places)
        if at is None:
            places.append(line)
            continue
        other, length = places[at], circles.get(line.chrom, 0)
        start, end = stretch_of([(other.start, other.end), (line.start, line.end)], length)
        around = end > length > 0 and other.end <= length
        repairs.add("over-origin" if around else "repeated", f"{line.id} {line.chrom}:{start}-{end}")
        places[at] = replace(other, start=start, end=end)
    return places


def _same_place(line: GeneLine, places: Sequence[GeneLine]) -> int | None:
    """Index of the place that a line belongs to; a sorted line can overlap only the last on its strand."""
    for at in range(len(places) - 1, -1, -1):
        other = places[at]
        if (other.chrom, other.strand) == (line.chrom, line.strand):
            overlap = other.start < line.end and line.start < other.end
            if overlap or not (line.only_named or line.trans_spliced):
                return at
            if line.only_named:
                return None
    return None


def _clusters(spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int, list[int]]]:
    """Merged spans that overlap or touch: start, end, indices; `length` of a circular contig, or 0."""
    merged: list[tuple[int, int, list[int]]] = []
    for at in sorted(range(len(spans)), key=lambda at: spans[at]):
        start, end = spans[at]
        if merged and start <= merged[-1][1]:
            first, last, members = merged[-1]
            merged[-1] = first, max(last, end), [*members, at]
        else:
            merged.append((start, end, [at]))
    if length and len(merged) > 1 and merged[-1][1] > length and merged[0][0] <= merged[-1][1] - length:
        (_, end, members), (first, last, others) = merged.pop(0), merged[-1]
        merged[-1] = first, max(last, end + length), [*others, *members]
    return merged


#: Number of genes starting before a part that are examined for one that encloses it.
_NEIGHBOURS = 200


@dataclass(frozen=True)
class Owned:
    """Genes and transcripts of the parents of parts, by the code of the parent.

    Attributes:
        gene: index of its gene; -1 if there is none, -2 if there are several.
        several: indices of the several genes, by code.
        transcript: code of its transcript.
        transcripts: IDs of the transcripts by code.
    """

    gene: NDArray[np.int64]
    several: dict[int, list[int]]
    transcript: NDArray[np.int32]
    transcripts: tuple[str, ...]


class Owners:
    """Finds the genes and transcripts of the parents of parts.

    Attributes:
        genes: those of the file, then those made for parts without a gene.

    Args:
        features: of the file.
        circles: lengths of circular contigs in bp.
        repairs: receives the parents that do not fit.
    """

    def __init__(self, features: Features, circles: Mapping[str, int], repairs: Repairs) -> None:
        self.genes: list[GeneLine] = []
        self._places: dict[str, list[int]] = defaultdict(list)
        for identity, gene in united(features.genes, circles, repairs):
            self._places[identity].append(len(self.genes))
            self.genes.append(gene)
        self._features = features
        self._above = features.above
        self._circles = circles
        self._reported: set[str] = set()
        self._repairs = repairs
        self._sorted: dict[tuple[str, int], tuple[list[int], list[int]]] = {}

    def of(self, parts: Parts) -> Owned:
        """Genes and transcripts of the parents of `parts`; genes without a line are made."""
        gene = np.full(len(parts.parents), -1, np.int64)
        transcript = np.zeros(len(parts.parents), np.int32)
        several: dict[int, list[int]] = {}
        ids: dict[str, int] = {}
        without_gene: dict[str, list[tuple[int, Extent]]] = {}
        for code, extent in enumerate(extents(parts)):
            top, name = self._climb(parts.parents[code])
            transcript[code] = ids.setdefault(name, len(ids))
            if top is None:
                self._repairs.add("parent-cycle", parts.parents[code])
                continue
            candidates = self._genes_of(top, extent)
            if candidates is None:
                without_gene.setdefault(top, []).append((code, extent))
            elif len(candidates) == 1:
                gene[code] = candidates[0]
            elif candidates:
                gene[code] = -2
                several[code] = candidates
        for top, members in without_gene.items():
            self._make(top, members, gene)
        return Owned(gene, several, transcript, tuple(ids))

    def _genes_of(self, top: str, extent: Extent) -> list[int] | None:
        """Candidates for the gene of parts; [] if there is none, None if it is to be made."""
        if top in self._places:
            return self._places[top]
        if self._features.genes_implied or top in self._above:
            return None
        for end in range(len(top) - 1, 0, -1):
            around = [i for i in self._places.get(top[:end], ()) if self._encloses(i, extent)]
            if around:
                self._repairs.add("parent-by-id", f"{top} to {self.genes[around[0]].id}")
                return around
        if top in self._features.named:
            return None
        around = self._around(extent)
        if len(around) == 1:
            self._repairs.add("parent-by-place", f"{top} to {self.genes[around[0]].id}")
            return around
        if top not in self._reported:
            self._reported.add(top)
            self._repairs.add("parent-missing", top)
        return []

    def _climb(self, parent: str) -> tuple[str | None, str]:
        """The topmost ancestor, and the transcript below it; None if the parents form a cycle."""
        seen: set[str] = set()
        transcript = parent
        while parent not in self._places and (above := self._above.get(parent)):
            if parent in seen:
                return None, ""
            seen.add(parent)
            transcript = parent
            known_parents = [name for name in above if name in self._places or name in self._above]
            parent = (known_parents or list(above))[0]
        return parent, transcript

    def _make(self, identity: str, members: list[tuple[int, Extent]], gene: NDArray[np.int64]) -> None:
        """Make genes for parts without one, one per place; reported if the format has gene lines."""
        if not self._features.genes_implied:
            self._repairs.add("gene-made", identity)
        described = self._features.described.get(identity)
        places = made(identity, [extent for _, extent in members], self._circles, described)
        if len(places) > 1:
            self._repairs.add("several-places", identity)
        for number, (line, own) in enumerate(places, start=1):
            index = len(self.genes)
            self.genes.append(free_name(line, identity, number, self._places))
            gene[[members[at][0] for at in own]] = index

    def _encloses(self, index: int, extent: Extent) -> bool:
        gene, (chrom, sign, start, end) = self.genes[index], extent
        return (
            gene.chrom == chrom
            and SIGNS[gene.strand] in (sign, 0)
            and gene.start <= start
            and end <= gene.end
        )

    def _around(self, extent: Extent) -> list[int]:
        chrom, sign, start, _ = extent
        if not self._sorted:
            by_place: dict[tuple[str, int], list[int]] = defaultdict(list)
            for index, gene in enumerate(self.genes):
                by_place[gene.chrom, SIGNS[gene.strand]].append(index)
            for key, indices in by_place.items():
                indices.sort(key=lambda index: self.genes[index].start)
                self._sorted[key] = [self.genes[index].start for index in indices], indices
        starts, indices = self._sorted.get((chrom, sign), ([], []))
        last = bisect_right(starts, start)
        return [i for i in indices[max(0, last - _NEIGHBOURS) : last] if self._encloses(i, extent)]
