"""Ownership: which gene and transcript each part belongs to, through parents that may be missing or wrong."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from covpool.extractor.annotation.features import Features, GeneLine, Parts, Strand
from covpool.extractor.annotation.repairs import Repairs

_SIGNS = {"+": 1, "-": -1}

#: Genes that start before a part and may reach over it; more than these are not looked through.
_NEIGHBOURS = 200


def united(lines: Sequence[GeneLine], repairs: Repairs, names_repeat: bool) -> list[tuple[str, GeneLine]]:
    """One line for each gene, with an ID of its own, and the ID that the file gives it.

    GFF3 1.26: lines of one ID are one feature, so those on one strand of a contig become the gene that spans
    them. Those on several strands or contigs, or of a gene that is said to be trans-spliced, have nothing in
    common that a sequence could be read from: each is a gene of its own, ID, ID~2, ID~3, …. Where an ID is
    only a name (BED), so are lines that do not overlap.
    """
    named: dict[str, list[GeneLine]] = {}
    for line in lines:
        identity = line.id
        if not identity:
            identity = next(iter((line.symbol, *line.aliases)), "") or (
                f"{line.chrom}:{line.start}-{line.end}:{line.strand}"
            )
            repairs.add("no-id", identity)
            line = replace(line, id=identity)
        named.setdefault(identity, []).append(line)
    found: list[tuple[str, GeneLine]] = []
    for identity, same in named.items():
        places: list[GeneLine] = []
        for line in sorted(same, key=lambda one: one.start) if names_repeat else same:
            at = _same_place(line, places, names_repeat)
            if at is None:
                places.append(line)
                continue
            other = places[at]
            span = min(other.start, line.start), max(other.end, line.end)
            repairs.add("repeated", f"{identity} {line.chrom}:{span[0]}-{span[1]}")
            places[at] = replace(other, start=span[0], end=span[1])
        if len(places) > 1:
            repairs.add("several-places", identity)
        for number, line in enumerate(places, start=1):
            if number > 1:
                line = replace(line, id=_free(identity, number, named), aliases=(*line.aliases, identity))
            found.append((identity, line))
    return found


def _same_place(line: GeneLine, places: Sequence[GeneLine], names_repeat: bool) -> int | None:
    """Index of the place that a line belongs to; sorted lines can only overlap the last on their strand."""
    for at in range(len(places) - 1, -1, -1):
        other = places[at]
        if (other.chrom, other.strand) == (line.chrom, line.strand):
            overlap = other.start < line.end and line.start < other.end
            if overlap or not (names_repeat or line.trans_spliced):
                return at
            if names_repeat:
                return None
    return None


def _free(identity: str, number: int, taken: Mapping[str, object]) -> str:
    name = f"{identity}~{number}"
    while name in taken:
        name += "~"
    return name


class Owners:
    """Finds the genes and the transcript that a part's parent leads to.

    Attributes:
        genes: those of the file, then those made for parts that have none.
        places: indices into `genes` by ID as the file writes it.
    """

    def __init__(self, features: Features, repairs: Repairs) -> None:
        self.genes: list[GeneLine] = []
        self.places: dict[str, list[int]] = defaultdict(list)
        for identity, gene in united(features.genes, repairs, features.names_repeat):
            self.places[identity].append(len(self.genes))
            self.genes.append(gene)
        self._made: set[int] = set()
        self._told: set[str] = set()
        self._symbols = features.symbols
        self._above = features.above
        self._implied = features.genes_implied
        self._repairs = repairs
        self._sorted: dict[tuple[str, int], tuple[list[int], list[int]]] = {}

    def of(self, parent: str, extent: tuple[str, int, int, int]) -> tuple[list[int], str]:
        """Candidates for the gene of parts that name `parent`, and their transcript; [] when there is none.

        Args:
            parent: as the parts name it.
            extent: chrom, sign of the strand, start and end over all parts of this parent.
        """
        top, transcript = self._climb(parent)
        if top is None:
            self._repairs.add("parent-cycle", parent)
            return [], ""
        if top in self.places:
            if self._made.issuperset(self.places[top]):
                return self._make(top, extent), transcript
            return self.places[top], transcript
        if self._implied:
            return self._make(top, extent), transcript
        if top in self._above:
            self._repairs.add("gene-made", top)
            return self._make(top, extent), transcript
        for end in range(len(top) - 1, 0, -1):
            around = [i for i in self.places.get(top[:end], ()) if self._encloses(i, extent)]
            if around:
                self._repairs.add("parent-by-id", f"{top} to {self.genes[around[0]].id}")
                return around, transcript
        around = self._around(extent)
        if len(around) == 1:
            self._repairs.add("parent-by-place", f"{top} to {self.genes[around[0]].id}")
            return around, transcript
        if top not in self._told:
            self._told.add(top)
            self._repairs.add("parent-missing", top)
        return [], ""

    def _climb(self, parent: str) -> tuple[str | None, str]:
        """The topmost ancestor, and the one below it when that is a gene; None where they form a circle."""
        seen: set[str] = set()
        transcript = parent
        while parent not in self.places and (above := self._above.get(parent)):
            if parent in seen:
                return None, ""
            seen.add(parent)
            transcript = parent
            known = [one for one in above if one in self.places or one in self._above]
            parent = (known or list(above))[0]
        return parent, transcript

    def _make(self, identity: str, extent: tuple[str, int, int, int]) -> list[int]:
        """Make a gene for parts that have none, or make one that was made so span them too."""
        chrom, sign, start, end = extent
        strand: Strand = "+" if sign > 0 else "-" if sign < 0 else "."
        made = self.places[identity]
        for index in made:
            gene = self.genes[index]
            if (gene.chrom, gene.strand) == (chrom, strand):
                self.genes[index] = replace(gene, start=min(gene.start, start), end=max(gene.end, end))
                return made
        if made:
            self._repairs.add("several-places", identity)
        name = _free(identity, len(made) + 1, self.places) if made else identity
        symbol = self._symbols.get(identity, identity)
        self._made.add(len(self.genes))
        made.append(len(self.genes))
        self.genes.append(GeneLine(name, symbol, chrom, start, end, strand))
        return made

    def _encloses(self, index: int, extent: tuple[str, int, int, int]) -> bool:
        gene, (chrom, sign, start, end) = self.genes[index], extent
        return (
            gene.chrom == chrom
            and _SIGNS.get(gene.strand, sign) in (sign, 0)
            and gene.start <= start
            and end <= gene.end
        )

    def _around(self, extent: tuple[str, int, int, int]) -> list[int]:
        chrom, sign, start, _ = extent
        if not self._sorted:
            by_place: dict[tuple[str, int], list[int]] = defaultdict(list)
            for index, gene in enumerate(self.genes):
                by_place[gene.chrom, _SIGNS.get(gene.strand, 0)].append(index)
            for key, indices in by_place.items():
                indices.sort(key=lambda index: self.genes[index].start)
                self._sorted[key] = [self.genes[index].start for index in indices], indices
        starts, indices = self._sorted.get((chrom, sign), ([], []))
        last = bisect_right(starts, start)
        return [i for i in indices[max(0, last - _NEIGHBOURS) : last] if self._encloses(i, extent)]


def extents(parts: Parts) -> list[tuple[str, int, int, int]]:
    """Chrom, strand sign, start and end over the parts of each parent, in the order of `parts.parents`.

    A parent whose parts lie on several contigs or strands has the extent of its first part's.
    """
    number = len(parts.parents)
    first = np.full(number, len(parts), np.int64)
    np.minimum.at(first, parts.parent, np.arange(len(parts)))
    chrom, strand = parts.chrom[first], parts.strand[first]
    alike = (parts.chrom == chrom[parts.parent]) & (parts.strand == strand[parts.parent])
    start = np.full(number, np.iinfo(np.int64).max)
    end = np.zeros(number, np.int64)
    np.minimum.at(start, parts.parent[alike], parts.start[alike])
    np.maximum.at(end, parts.parent[alike], parts.end[alike])
    return [
        (parts.chroms[c], int(sign), int(one), int(other))
        for c, sign, one, other in zip(chrom, strand, start, end, strict=True)
    ]
