"""Lines of an annotation file: its format, recognised from them, and their columns as Arrow tables.

Arrow's CSV reader splits the columns, some hundred megabytes per second, with one block in memory. Comments
and lines with another number of columns are handled here.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covpool.extractor.annotation.features.features import Features
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.text import blocks
from covpool.extractor.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa

#: The nine columns of GFF3 and GTF.
COLUMNS = ("chrom", "source", "type", "start", "end", "score", "strand", "phase", "attributes")

#: Prefixes of comments and directives (`###`), and of the display lines of a BED file. A search for bytes is
#: many times faster than a regular expression that may begin on any line.
_COMMENT = b"\n#"
_DISPLAY = (b"\ntrack ", b"\nbrowser ")

#: Prefix and pattern of GFF3 1.26 and of gene finders. The prefix is searched first, which is far faster.
_LENGTHS = (
    (b"##sequence-region", re.compile(rb"##sequence-region[ \t]+(?P<name>\S+)[ \t]+1[ \t]+(?P<length>\d+)")),
    (
        b"# Sequence Data:",
        re.compile(rb'# Sequence Data:.*?seqlen=(?P<length>\d+);seqhdr="(?P<name>[^\s"]+)'),
    ),
    (
        b"# ----- prediction on sequence",
        re.compile(rb"# ----- prediction on sequence.*?length = (?P<length>\d+), name = (?P<name>[^\s,)]+)"),
    ),
)

#: Number of lines from which the format is recognised, because single lines may be malformed.
_EXAMINED = 5000

#: Column nine of GTF: a name, a blank and a value. AUGUSTUS writes bare IDs of genes and transcripts into it,
#: which do not identify the format.
_GTF = re.compile(r'(?:^|;)\s*(?:(?:gene_id|transcript_id)\s+[^\s;=]|[\w.-]+\s+")')

#: Text after a tab that continues the attributes: `name=value` or `name "value"`.
_ATTRIBUTE = re.compile(r'\s*[\w.:-]+(\s*=|\s+")')


def format_of(path: Path) -> str:
    """gff3, gtf, bed or genbank; gff3 if no line identifies the format.

    Raises:
        AnnotationError: the file cannot be read, or is EMBL.
    """
    lines = sample(path, _EXAMINED)
    if any(line.startswith("LOCUS ") for line in lines):
        return "genbank"
    if lines and re.match(r"ID   \S+;", lines[0]):
        raise AnnotationError(f"{path}: is EMBL, which is not supported; give GenBank or GFF3")
    counts = Counter(map(_shape, lines))
    return max(("gff3", "gtf", "bed"), key=lambda name: counts[name])


def _shape(line: str) -> str:
    columns = line.split("\t")
    if len(columns) >= 3 and all(cell.strip().isdigit() for cell in columns[1:3]):
        return "bed"
    if len(columns) < 9:
        return ""
    text = " ".join(columns[8:])
    if "=" in text.split('"')[0]:
        return "gff3"
    return "gtf" if _GTF.search(text) else ""


def sample(path: Path, number: int) -> list[str]:
    """The first lines that are not comments, without line ends. Raises the errors of `blocks`."""
    texts = (
        line
        for block in blocks(path, Repairs())
        for line in _without(b"\n" + block, _COMMENT, *_DISPLAY).split(b"\n")
    )
    return [line.decode().rstrip() for line in islice((text for text in texts if text.strip()), number)]


def tables(
    path: Path,
    columns: tuple[str, ...],
    repairs: Repairs,
    features: Features | None = None,
) -> Iterator["pa.Table"]:
    """Tables of text columns; lines with another number of columns are counted and left out.

    The last of the nine columns of GFF3 and GTF may hold tabs: they are read as blanks.

    Args:
        path, columns, repairs: the file, the names of its columns, and the collector of its flaws.
        features: receives the contig lengths in comments.
    """
    import pyarrow as pa

    done = 0
    for block in blocks(path, repairs):
        longer: list[str] = []
        data = b"\n" + block
        if _COMMENT in data:
            if features is not None:
                _read_lengths(data, features)
            data = _without(data, _COMMENT)
        if columns != COLUMNS:
            data = _without(data, *_DISPLAY)
        if data.strip():
            yield _table(data, columns, _other_shape(columns, block, done, longer, repairs))
        if longer:
            rows = zip(*map(_joined, longer), strict=True)
            yield pa.table({name: list(values) for name, values in zip(columns, rows, strict=True)})
        done += block.count(b"\n")


def _table(data: bytes, columns: tuple[str, ...], other_shape: Callable[[Any], str]) -> "pa.Table":
    from pyarrow import csv

    return csv.read_csv(
        io.BytesIO(data),
        csv.ReadOptions(column_names=list(columns), block_size=max(len(data), 1), use_threads=False),
        csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=other_shape),
        csv.ConvertOptions(column_types=dict.fromkeys(columns, "string"), null_values=[""]),
    )


def _other_shape(
    columns: tuple[str, ...], block: bytes, before: int, longer: list[str], repairs: Repairs
) -> Callable[[Any], str]:
    def handle(row: Any) -> str:
        line = before + _line_of(block, row.text)
        if columns == COLUMNS and row.actual_columns > len(COLUMNS):
            repairs.add("tabs", f"line {line}")
            longer.append(row.text)
        else:
            repairs.add("columns", f"line {line}: {row.actual_columns} columns")
        return "skip"

    return handle


def _joined(text: str) -> list[str]:
    """Nine columns of a line with more tabs; text after the last attribute is dropped."""
    pieces = text.rstrip("\r\n").split("\t")
    rest = pieces[8:]
    last = max(
        (at for at, piece in enumerate(rest) if "=" in piece or '"' in piece or ";" in piece), default=0
    )
    attributes = rest[0]
    for piece in rest[1 : last + 1]:
        attributes += ("; " if _ATTRIBUTE.match(piece) else " ") + piece
    return [*pieces[:8], attributes]


def _without(data: bytes, *marks: bytes) -> bytes:
    """The lines that begin with none of the marks; each mark begins with the preceding line feed."""
    for mark in marks:
        if mark in data:
            data = re.sub(re.escape(mark) + rb"[^\n]*", b"", data)
    return data


def _line_of(block: bytes, text: str) -> int:
    """Number of the first line with this text, counted from 1."""
    at = block.find(text.encode())
    return block.count(b"\n", 0, max(at, 0)) + 1


def _read_lengths(block: bytes, features: Features) -> None:
    """Add the contig lengths in the comments of these lines: directives, headers of Prodigal and AUGUSTUS.

    A `##sequence-region` that begins after the first base states no length.
    """
    for prefix, pattern in _LENGTHS:
        if prefix in block:
            for match in pattern.finditer(block):
                features.long(match["name"].decode(), int(match["length"]))
