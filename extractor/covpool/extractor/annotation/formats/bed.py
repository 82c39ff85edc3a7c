"""BED: features of a file with three to twelve columns (UCSC). Blocks are exons; the thick part is coding.

Each line is a gene, named by its fourth column or by its place. Overlapping lines with one name are
transcripts of one gene.
"""

from pathlib import Path

from covpool.extractor.annotation.features.features import (
    CDS,
    EXON,
    SIGNS,
    Features,
    GeneLine,
    PartColumns,
    is_coordinate,
    strand_of,
)
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.lines import sample, tables

_COLUMNS = (
    "chrom", "start", "end", "name", "score", "strand", "thick_start", "thick_end", "colour", "blocks",
    "sizes", "starts",
)  # fmt: skip


def read_bed(path: Path, repairs: Repairs) -> Features:
    """A gene from each line, with its parts if the file has twelve columns.

    Raises:
        AnnotationError: the file cannot be read.
    """
    width = len(sample(path, 1)[0].split("\t"))
    names = _COLUMNS[:width] if width <= len(_COLUMNS) else (*_COLUMNS, *map(str, range(width - 12)))
    features = Features()
    parts: list[tuple[int, str, int, int, int, str]] = []
    for table in tables(path, names, repairs):
        for row in table.to_pylist():
            where = f"{row['chrom']}:{row['start']}-{row['end']}"
            try:
                start, end = _number(row["start"]), _number(row["end"])
                blocks = _blocks(row, start, end)
            except (TypeError, ValueError):
                repairs.add("coordinates", where)
                continue
            if start < 0:
                repairs.add("before-first-base", where)
                start = 0
            if start >= end:
                # An insertion point, or start and end are swapped.
                repairs.add("start-after-end" if start > end else "coordinates", where)
                if start == end:
                    continue
                start, end = end, start
            name = row.get("name")
            name = "" if name in (None, ".") else name
            # Without the sixth column BED has no strands; with it, "." is a gene without a strand.
            strand = strand_of(row.get("strand", "+"))
            features.genes.append(GeneLine(name, name, row["chrom"], start, end, strand, only_named=True))
            if name and blocks:
                transcript = f"{name} {where}"
                features.above[transcript] = (name,)
                for kind, first, last in blocks:
                    parts.append((kind, row["chrom"], first, last, SIGNS[strand], transcript))
    columns = PartColumns()
    columns.add_rows(parts)
    features.parts = columns.parts()
    return features


def _number(text: str) -> int:
    number = int(text)
    if not is_coordinate(number):
        raise ValueError(f"{text} is too large for a coordinate")
    return number


def _blocks(row: dict[str, str], start: int, end: int) -> list[tuple[int, int, int]]:
    """Exons, and their thick parts as CDS: kind, start and end of each."""
    if "starts" not in row:
        return []
    sizes, starts = ([_number(text) for text in row[name].split(",") if text] for name in ("sizes", "starts"))
    thick_start, thick_end = _number(row["thick_start"]), _number(row["thick_end"])
    blocks = []
    for size, offset in zip(sizes, starts, strict=True):
        first, last = start + offset, start + offset + size
        blocks.append((EXON, first, last))
        if max(first, thick_start) < min(last, thick_end):
            blocks.append((CDS, max(first, thick_start), min(last, thick_end)))
    return blocks
