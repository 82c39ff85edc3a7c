"""Features: what the readers of all formats make of a file, before it is known what belongs to what.

Convention: coordinates are 0-based and half-open. Parts (exons, CDS, UTRs) are columns:
there are millions.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.annotation.repairs import Repairs

#: Kinds of parts by code, and the feature types of GFF3 and GTF that count as each.
EXON, CDS, UTR = range(3)
PART_TYPES = {
    "exon": EXON,
    "pseudogenic_exon": EXON,
    "CDS": CDS,
    "five_prime_UTR": UTR,
    "three_prime_UTR": UTR,
    "five_prime_utr": UTR,
    "three_prime_utr": UTR,
    "5UTR": UTR,
    "3UTR": UTR,
    "UTR": UTR,
}

Strand = Literal["+", "-", "."]


@dataclass(frozen=True)
class GeneLine:
    """One line of a gene, checked by itself only.

    Attributes:
        id: "" where there is none.
        trans_spliced: the gene is put together from several places.
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


@dataclass(frozen=True)
class Parts:
    """Columns of equal length; `chrom` and `parent` are codes of the names beside them."""

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
    """A file's genes, what leads to them, and their parts.

    Attributes:
        genes: in file order.
        above: parents by ID, of everything between genes and parts; () of what has none.
        canonical: IDs of transcripts that the file calls representative (MANE Select, RefSeq Select, …).
        parts: exons, CDS and UTRs.
        circular: contigs said to be circular.
        other_names: of contigs, as far as the file tells them.
        genes_implied: the format needs no gene lines; those missing are made from what names them.
        symbols: of genes without a line, by ID.
        names_repeat: an ID is only a name, and lines apart from each other are genes of their own.
    """

    genes: list[GeneLine]
    above: dict[str, tuple[str, ...]]
    canonical: set[str]
    parts: Parts
    circular: set[str] = field(default_factory=set)
    other_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    genes_implied: bool = False
    symbols: dict[str, str] = field(default_factory=dict)
    names_repeat: bool = False


class PartColumns:
    """Gathers parts of many tables into one `Parts`."""

    def __init__(self) -> None:
        self._columns: list[tuple[Any, ...]] = []

    def add(self, kind: Any, chrom: Any, start: Any, end: Any, strand: Any, parent: Any) -> None:
        """Arrow or numpy columns of equal length: codes, names, integers, -1 | 0 | 1, names."""
        self._columns.append((kind, chrom, start, end, strand, parent))

    def parts(self) -> Parts:
        """All of them."""
        import pyarrow as pa

        empty: tuple[Any, ...] = tuple([pa.array([], kind) for kind in _TYPES])
        columns = [
            pa.chunked_array([pa.array(one[n]).cast(kind) for one in [*self._columns, empty]])
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


def intervals(table: Any, repairs: Repairs) -> Any:
    """`table` with integer `start` and `end`, 0-based half-open, from 1-based inclusive text.

    Lines whose coordinates are no numbers are left out; what begins after its end is turned round.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        start, end = (table[name].cast(pa.int64()) for name in ("start", "end"))
        whole = not (start.null_count or end.null_count)
    except pa.ArrowInvalid:
        whole = False
    if not whole:
        numeric = pc.and_kleene(
            *(pc.match_substring_regex(table[name], r"^-?\d{1,15}$") for name in ("start", "end"))
        ).fill_null(False)
        for row in table.filter(pc.invert(numeric)).to_pylist():
            repairs.add("coordinates", f"{row['chrom']}:{row['start']}-{row['end']} {row['type']}")
        table = table.filter(numeric)
        start, end = (table[name].cast(pa.int64()) for name in ("start", "end"))
    start, end = start.to_numpy() - 1, end.to_numpy()

    def told(rows: NDArray[np.bool_]) -> list[str]:
        return [
            f"{row['chrom']}:{row['start']}-{row['end']} {row['type']}"
            for row in table.filter(pa.array(rows)).slice(0, 5).to_pylist()
        ]

    turned = start >= end
    if turned.any():
        repairs.add_all("start-after-end", told(turned), int(turned.sum()))
        # Inclusive ends, exchanged.
        start, end = np.where(turned, end - 1, start), np.where(turned, start + 1, end)
    early = start < 0
    if early.any():
        repairs.add_all("before-first-base", told(early), int(early.sum()))
        start, end = np.maximum(start, 0), np.maximum(end, 1)
    for name, values in (("start", start), ("end", end)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def strand_codes(strands: Any) -> Any:
    """1 for "+", -1 for "-", 0 for what is neither."""
    import pyarrow.compute as pc

    plus, minus = (pc.equal(strands, sign).fill_null(False).cast("int8") for sign in "+-")
    return pc.subtract(plus, minus)
