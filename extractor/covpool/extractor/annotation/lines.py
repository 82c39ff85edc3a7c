"""Lines of an annotation file as Arrow tables, block by block: plain, gzip or bgzip, any line endings.

Arrow's CSV reader does the columns, some hundred megabytes a second, and only one block is in memory. What it
does not know is decided here: comments, FASTA sections, lines of other shapes, text that is not UTF-8.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xopen import xopen

from covpool.extractor.annotation.repairs import Repairs
from covpool.extractor.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of text read at once.
BLOCK = 1 << 24

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: Begin comments and directives (`###`), and the display lines of a BED file. Sought as bytes: a regular
#: expression that may begin on any line is many times slower.
_ASIDES = (b"\n#", b"\ntrack ", b"\nbrowser ")
#: GFF3 1.26: sequences follow `##FASTA`, or a line that begins with ">".
_SEQUENCES = (b"\n##FASTA", b"\n>")


def blocks(path: Path, repairs: Repairs) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time, up to a FASTA section.

    Raises:
        AnnotationError: the file cannot be read, is truncated, or is no text.
    """
    try:
        with open_text(path) as file:
            left = b""
            first = True
            while data := file.read(BLOCK):
                if first:
                    first = False
                    if data.startswith(_BYTE_ORDER_MARK):
                        repairs.add("byte-order-mark", path.name)
                        data = data.removeprefix(_BYTE_ORDER_MARK)
                    if b"\0" in data[:4096]:
                        raise AnnotationError(f"{path}: is no text; give GFF3, GTF, BED or GenBank")
                data = left + data
                if (end := _sequences(data)) is not None:
                    yield data[:end]
                    return
                cut = data.rfind(b"\n") + 1
                left = data[cut:]
                if cut:
                    yield data[:cut]
            if left:
                yield left
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error}); check the path, or fetch it again"
        ) from error


def open_text(path: Path) -> BinaryIO:
    """The file, decompressed where it is gzip or bgzip; told by its first bytes, not by its name."""
    with path.open("rb") as head:
        compressed = head.read(2) == _GZIP_MAGIC
    return xopen(path, "rb", threads=0, format="gz") if compressed else path.open("rb")


def first_line(path: Path) -> str:
    """The first line that is no comment; "" when there is none. Errors as of `blocks`."""
    for block in blocks(path, Repairs()):
        for line in _content(block).splitlines():
            if line.strip():
                return line.decode("utf-8", "replace").rstrip()
    return ""


def tables(path: Path, columns: tuple[str, ...], repairs: Repairs) -> Iterator["pa.Table"]:
    """Tables of text columns; lines of another number of columns are counted and left out."""
    from pyarrow import csv

    done = 0

    for block in blocks(path, repairs):
        data = _decodable(_content(block), path, repairs)

        def other_shape(row: Any, block: bytes = block, before: int = done) -> str:
            line = before + _line_of(block, row.text)
            repairs.add("columns", f"line {line}: {row.actual_columns} columns")
            return "skip"

        if data.strip():
            yield csv.read_csv(
                io.BytesIO(data),
                csv.ReadOptions(column_names=list(columns), block_size=max(len(data), 1), use_threads=False),
                csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=other_shape),
                csv.ConvertOptions(column_types=dict.fromkeys(columns, "string"), null_values=[""]),
            )
        done += block.count(b"\n")


def _sequences(data: bytes) -> int | None:
    """Where a FASTA section begins; None where there is none."""
    if data.startswith(tuple(mark[1:] for mark in _SEQUENCES)):
        return 0
    found = [at + 1 for mark in _SEQUENCES if (at := data.find(mark)) >= 0]
    return min(found, default=None)


def _content(block: bytes) -> bytes:
    """The lines that are neither comments nor for display."""
    lines = b"\n" + block
    for mark in _ASIDES:
        if mark in lines:
            lines = re.sub(re.escape(mark) + rb"[^\n]*", b"", lines)
    return lines[1:]


def _decodable(data: bytes, path: Path, repairs: Repairs) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        repairs.add("encoding", path.name)
        return data.decode("latin-1").encode()
    return data


def _line_of(block: bytes, text: str) -> int:
    """Number of the first line that reads so, from 1."""
    at = block.find(text.encode())
    return block.count(b"\n", 0, max(at, 0)) + 1
