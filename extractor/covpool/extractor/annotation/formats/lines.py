"""Lines of an annotation file as Arrow tables, block by block.

Arrow's CSV reader does the columns, some hundred megabytes a second, and only one block is in memory. What it
does not know is decided here: comments, lines of other shapes.
"""

import io
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.text import blocks

if TYPE_CHECKING:
    import pyarrow as pa

#: The nine columns of GFF3 and GTF.
COLUMNS = ("chrom", "source", "type", "start", "end", "score", "strand", "phase", "attributes")

#: Begin comments and directives (`###`), and the display lines of a BED file. Sought as bytes: a regular
#: expression that may begin on any line is many times slower.
_COMMENT = b"\n#"
_DISPLAY = (b"\ntrack ", b"\nbrowser ")

#: Text behind a tab that goes on with attributes: `name=value` or `name "value"`.
_ATTRIBUTE = re.compile(r'\s*[\w.:-]+(\s*=|\s+")')


def sample(path: Path, number: int) -> list[str]:
    """The first lines that are no comments, without their ends. Errors as of `blocks`."""
    texts = (
        line
        for block in blocks(path, Repairs())
        for line in _without(b"\n" + block, _COMMENT, *_DISPLAY).split(b"\n")
    )
    return [line.decode().rstrip() for line in islice((one for one in texts if one.strip()), number)]


def tables(
    path: Path,
    columns: tuple[str, ...],
    repairs: Repairs,
    *,
    see: Callable[[bytes], None] = lambda block: None,
) -> Iterator["pa.Table"]:
    """Tables of text columns; lines of another number of columns are counted and left out.

    Of the nine columns of GFF3 and GTF the last may hold tabs: they are read as blanks.

    Args:
        path, columns, repairs: the file, the names of its columns, and what takes its flaws.
        see: is shown every block of lines with comments in it before it is read.
    """
    import pyarrow as pa

    done = 0
    for block in blocks(path, repairs):
        longer: list[str] = []
        data = b"\n" + block
        if _COMMENT in data:
            see(data)
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
    """Nine columns of a line with more tabs; what follows the last attribute is of other columns."""
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
    """The lines that begin with none of these; each mark begins with the line feed before it."""
    for mark in marks:
        if mark in data:
            data = re.sub(re.escape(mark) + rb"[^\n]*", b"", data)
    return data


def _line_of(block: bytes, text: str) -> int:
    """Number of the first line that reads so, from 1."""
    at = block.find(text.encode())
    return block.count(b"\n", 0, max(at, 0)) + 1
