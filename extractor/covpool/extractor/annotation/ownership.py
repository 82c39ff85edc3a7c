"""Ownership: the gene and transcript of each part, through parents that may be missing or wrong."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.features import SIGNS, Extent, Features, GeneLine, Parts, extents
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.gene_places import free_name, made, united

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
