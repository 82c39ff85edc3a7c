"""Features: the common output of the readers of all formats, before parts are assigned to genes.

Convention: coordinates are 0-based and half-open. Parts (exons, CDS, UTRs) are columns: there are millions.
Features from the readers may begin before the first base or after their own end; `straighten` corrects them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.features.repairs import Repairs

#: Kinds of parts by code, and the feature types of GFF3 and GTF that count as each.
EXON, CDS, UTR, STOP = range(4)
PART_TYPES = {
    "exon": EXON,
    "pseudogenic_exon": EXON,
    "CDS": CDS,
    "stop_codon": STOP,
    "five_prime_UTR": UTR,
    "three_prime_UTR": UTR,
    "five_prime_utr": UTR,
    "three_prime_utr": UTR,
    "5UTR": UTR,
    "3UTR": UTR,
    "UTR": UTR,
    "5'-UTR": UTR,
    "3'-UTR": UTR,
    "5'UTR": UTR,
    "3'UTR": UTR,
}

Strand = Literal["+", "-", "."]
SIGNS: dict[Strand, Literal[1, -1, 0]] = {"+": 1, "-": -1, ".": 0}


def strand_of(text: str | None) -> Strand:
    """The strand that a file states; "." for any other text."""
    if text == "+":
        return "+"
    return "-" if text == "-" else "."


@dataclass(frozen=True)
class GeneLine:
    """One gene line, checked without regard to other lines.

    Attributes:
        id: "" if there is none.
        trans_spliced: the gene is joined from several places.
        only_named: the id is a name that genes may share; lines that do not overlap are separate genes.
    """

    id: str
    symbol: str
    chrom: str
    start: int
    end: int
    strand: Strand
    aliases: tuple[str, ...] = ()
    biotype: str = ""
    trans_spliced: bool = False
    only_named: bool = False

    @property
    def called(self) -> str:
        """Its ID, else another name, else its place."""
        place = f"{self.chrom}:{self.start}-{self.end}:{self.strand}"
        return next((name for name in (self.id, self.symbol, *self.aliases) if name), place)


@dataclass(frozen=True)
class Description:
    """Names and biotype of a gene that has no line."""

    symbol: str = ""
    aliases: tuple[str, ...] = ()
    biotype: str = ""


@dataclass(frozen=True)
class Parts:
    """Columns of equal length; `chrom` and `parent` are codes into the lists `chroms` and `parents`."""

    kind: NDArray[np.int8]
    chrom: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    strand: NDArray[np.int8]
    parent: NDArray[np.int32]
    chroms: list[str]
    parents: list[str]

    def __len__(self) -> int:
        return len(self.kind)


@dataclass
class Features:
    """The genes of a file, their parts, and the parents between the two.

    Attributes:
        genes: in file order.
        above: parents by ID, for all features between genes and parts; () for a feature without parents.
        canonical: rank of a transcript's mark by ID, see `attributes.rank`.
        parts: exons, CDS, UTRs and stop codons.
        circular: contigs that the file declares circular.
        lengths: of contigs in bp, where the file states them.
        other_names: of contigs, where the file states them.
        genes_implied: the format needs no gene lines; missing genes are made from features that name them.
        named: parents that transcript lines name: these are genes, even if they have no line.
        described: genes without a line, by ID.
    """

    genes: list[GeneLine] = field(default_factory=list)
    above: dict[str, tuple[str, ...]] = field(default_factory=dict)
    canonical: dict[str, int] = field(default_factory=dict)
    parts: Parts = field(default_factory=lambda: PartColumns().parts())
    circular: set[str] = field(default_factory=set)
    lengths: dict[str, int] = field(default_factory=dict)
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    genes_implied: bool = False
    named: set[str] = field(default_factory=set)
    described: dict[str, Description] = field(default_factory=dict)

    def long(self, chrom: str, length: int) -> None:
        """Record that a contig has at least this length."""
        self.lengths[chrom] = max(self.lengths.get(chrom, 0), min(length, LARGEST))

    def call(self, renamed: Callable[[str], str]) -> None:
        """Rename every contig; `renamed` gives the new name of an old one."""
        self.genes = [
            line if (name := renamed(line.chrom)) == line.chrom else replace(line, chrom=name)
            for line in self.genes
        ]
        self.circular = {renamed(chrom) for chrom in self.circular}
        self.lengths = {renamed(chrom): length for chrom, length in self.lengths.items()}
        self.other_names = {renamed(chrom): others for chrom, others in self.other_names.items()}
        chroms = [renamed(chrom) for chrom in self.parts.chroms]
        if chroms != self.parts.chroms:
            codes = {name: code for code, name in enumerate(dict.fromkeys(chroms))}
            recoded = np.array([codes[name] for name in chroms], np.int32)
            self.parts = replace(self.parts, chrom=recoded[self.parts.chrom], chroms=list(codes))


class PartColumns:
    """Collects the parts of many tables into one `Parts`."""

    def __init__(self) -> None:
        self._columns: list[tuple[Any, ...]] = []

    def add(self, kind: Any, chrom: Any, start: Any, end: Any, strand: Any, parent: Any) -> None:
        """Arrow or numpy columns of equal length: codes, names, integers, -1 | 0 | 1, names."""
        self._columns.append((kind, chrom, start, end, strand, parent))

    def add_rows(self, rows: Iterable[tuple[int, str, int, int, int, str]]) -> None:
        """The same six values, as rows."""
        if columns := [list(values) for values in zip(*rows, strict=True)]:
            self.add(*columns)

    def parts(self) -> Parts:
        """All parts added so far."""
        import pyarrow as pa

        empty: tuple[Any, ...] = tuple([pa.array([], kind) for kind in _TYPES])
        columns = [
            pa.chunked_array([pa.array(column[n]).cast(kind) for column in [*self._columns, empty]])
            for n, kind in enumerate(_TYPES)
        ]
        chrom, parent = (columns[n].combine_chunks().dictionary_encode() for n in (1, 5))
        numbers = [columns[n].to_numpy() for n in (0, 2, 3, 4)]
        return Parts(
            numbers[0].astype(np.int8),
            chrom.indices.to_numpy(),
            numbers[1],
            numbers[2],
            numbers[3].astype(np.int8),
            parent.indices.to_numpy(),
            chrom.dictionary.to_pylist(),
            parent.dictionary.to_pylist(),
        )


_TYPES = ("int8", "string", "int64", "int64", "int8", "string")


#: Largest coordinate that is read; sums of several fit 64 bits.
LARGEST = 10**15 - 1


def is_coordinate(number: int) -> bool:
    """Whether a number may be a coordinate."""
    return abs(number) <= LARGEST


def intervals(table: Any, repairs: Repairs) -> Any:
    """`table` with integer `start` and `end`, 0-based half-open, from 1-based inclusive text.

    Lines whose coordinates are not numbers are left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        start, end = (table[name].cast(pa.int64()) for name in ("start", "end"))
        bounds = [bound or 0 for column in (start, end) for bound in pc.min_max(column).as_py().values()]
        valid = not (start.null_count or end.null_count) and all(map(is_coordinate, bounds))
    except pa.ArrowInvalid:
        valid = False
    if not valid:
        numeric = pc.and_kleene(
            *(pc.match_substring_regex(table[name], r"^-?\d{1,15}$") for name in ("start", "end"))
        ).fill_null(False)
        for row in table.filter(pc.invert(numeric)).to_pylist():
            repairs.add("coordinates", f"{row['chrom']}:{row['start']}-{row['end']} {row['type']}")
        table = table.filter(numeric)
        start, end = (table[name].cast(pa.int64()) for name in ("start", "end"))
    for name, values in (("start", pc.subtract(start, 1)), ("end", end)):
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def strand_codes(strands: Any) -> Any:
    """1 for "+", -1 for "-", 0 for other text."""
    import pyarrow.compute as pc

    plus, minus = (pc.equal(strands, sign).fill_null(False).cast("int8") for sign in "+-")
    return pc.subtract(plus, minus)


#: Chrom, sign of the strand (0 if there is none), start and end.
Extent = tuple[str, int, int, int]


def apart(parts: Parts) -> Parts:
    """`parts`, those of a parent on one strand of one contig; others get a new parent with the same name.

    A transcript ID that occurs on X and on Y gives two parents.
    """
    chrom, strand = _first(parts)
    while True:
        same = (parts.chrom == chrom[parts.parent]) & (
            (parts.strand == strand[parts.parent]) | (parts.strand == 0)
        )
        if same.all():
            return parts
        others, codes = np.unique(parts.parent[~same], return_inverse=True)
        parent = parts.parent.copy()
        parent[~same] = len(parts.parents) + codes
        names = [*parts.parents, *(parts.parents[code] for code in others)]
        parts = replace(parts, parent=parent, parents=names)
        chrom, strand = _first(parts)


def extents(parts: Parts) -> list[Extent]:
    """Extents over the parts of each parent, in the order of `parts.parents`; each must lie on one strand."""
    chrom, strand = _first(parts)
    start = np.full(len(parts.parents), np.iinfo(np.int64).max)
    end = np.zeros(len(parts.parents), np.int64)
    np.minimum.at(start, parts.parent, parts.start)
    np.maximum.at(end, parts.parent, parts.end)
    return [
        (parts.chroms[code], int(sign), int(first_base), int(last_base))
        for code, sign, first_base, last_base in zip(chrom, strand, start, end, strict=True)
    ]


def _first(parts: Parts) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Codes of the contig, and signs of the strand, of the first part of each parent."""
    first = np.full(len(parts.parents), len(parts), np.int64)
    np.minimum.at(first, parts.parent, np.arange(len(parts)))
    return parts.chrom[first], parts.strand[first]
