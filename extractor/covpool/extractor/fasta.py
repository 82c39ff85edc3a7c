"""FASTA files: records in, normalised sequences out; plain, gzip or bgzip, any line endings and wrapping.

Parsing is dnaio's; what it leaves open (damaged compression, duplicate ids, non-DNA) is decided here.
"""

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import dnaio
from xopen import xopen

from covpool.extractor.errors import SequenceError
from covpool.extractor.sequences import Sequence, normalise

#: How dnaio tells of a letter beyond ASCII.
_NOT_ASCII = re.compile(
    r"'(?P<part>name|sequence)' in sequence file must be ASCII .* found (?P<character>'.')"
)

_GZIP_MAGIC = b"\x1f\x8b"
#: The empty block that ends every complete bgzip file (SAM specification, section 4.1.2).
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Refused:
    """A record that is not DNA; `error` names it and says why."""

    name: str
    error: str


def read_fasta(
    source: Path | bytes, *, label: str | None = None, max_bases: int | None = None
) -> Iterator[Sequence]:
    """Normalised sequences of a FASTA file, in file order.

    Args:
        source: a path, or the file's bytes.
        label: what messages call the file; the path by default.
        max_bases: refuse more bases than this over all records (guards against gzip bombs).

    Raises:
        SequenceError: the file is missing, empty, truncated, not FASTA or too large, a record is not DNA,
            or an id occurs twice. The message names file, record and line or position.
    """
    for record in read_records(source, label=label, max_bases=max_bases):
        if isinstance(record, Refused):
            raise SequenceError(record.error)
        yield record


def read_records(
    source: Path | bytes, *, label: str | None = None, max_bases: int | None = None
) -> Iterator[Sequence | Refused]:
    """As `read_fasta`, but a record that is not DNA is told of in its place, and the others follow."""
    label = label or (str(source) if isinstance(source, Path) else "FASTA")
    try:
        file: BinaryIO = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as error:
        raise SequenceError(f"{label}: cannot be read ({error.strerror}); check the path") from error
    with file:
        _check_bgzip_end(file, label)
        yield from _records(file, label, max_bases)


def _records(file: BinaryIO, label: str, max_bases: int | None) -> Iterator[Sequence | Refused]:
    seen: dict[str, int] = {}
    total = 0
    try:
        # Told what it is: left to guess, xopen would also open formats whose damage we do not know.
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        with xopen(file, "rb", threads=0, format="gz") if compressed else file as stream:
            bounded = io.BufferedReader(_Bounded(stream, label, max_bases))
            for number, record in enumerate(dnaio.FastaReader(bounded), start=1):
                name = record.name.split(maxsplit=1)[0] if record.name.strip() else ""
                where = f"{label}: record {number} ({name or 'unnamed'})"
                if not name:
                    raise SequenceError(f"{where}: the header has no id; write '>id'")
                if not name.isprintable():
                    raise SequenceError(f"{label}: record {number}: the id holds control characters")
                if name in seen:
                    raise SequenceError(
                        f"{where}: the id occurs twice, first in record {seen[name]}; rename one"
                    )
                seen[name] = number
                total += len(record.sequence)
                if max_bases is not None and total > max_bases:
                    raise SequenceError(_too_large(label, max_bases))
                yield _normalised(record.sequence, name, f"{label}: record {number}")
    except dnaio.FastaFormatError as error:
        raise SequenceError(_not_fasta(error, label, len(seen) + 1)) from error
    except UnicodeDecodeError as error:
        raise SequenceError(_not_text(error, label, len(seen) + 1)) from error
    except (EOFError, zlib.error, OSError) as error:
        raise SequenceError(
            f"{label}: damaged after record {len(seen)} ({error}); the file is truncated or corrupt, "
            "fetch it again"
        ) from error
    if not seen:
        raise SequenceError(f"{label}: holds no FASTA record; begin with '>id' and bases below it")


def _normalised(bases: str, name: str, where: str) -> Sequence | Refused:
    try:
        return normalise(bases, name)
    except SequenceError as error:
        return Refused(name, f"{where}: {error}")


def _check_bgzip_end(file: BinaryIO, label: str) -> None:
    """Refuse a bgzip file cut between two blocks, which decompresses without an error."""
    head = file.read(18)
    is_bgzip = head[:2] == _GZIP_MAGIC and len(head) == 18 and head[3] & 4 and head[12:14] == b"BC"
    if is_bgzip:
        file.seek(-min(len(_BGZIP_END), file.seek(0, io.SEEK_END)), io.SEEK_END)
        if file.read() != _BGZIP_END:
            raise SequenceError(f"{label}: the bgzip end marker is missing; the file is truncated")
    file.seek(0)


def _not_fasta(error: dnaio.FastaFormatError, label: str, record: int) -> str:
    """Why the parser gave up, in words that say what to do."""
    if foreign := _NOT_ASCII.search(error.message):
        part = "the header" if foreign["part"] == "name" else "the sequence"
        return (
            f"{label}: record {record}: {part} holds {foreign['character']}, which is not ASCII; replace it"
        )
    if "\ufeff" in error.message:
        return f"{label}: begins with a byte order mark; save it as plain text without one"
    line = f", line {error.line + 1}" if error.line is not None else ""
    return f"{label}{line}: not FASTA ({error.message}); begin with '>id'"


def _not_text(error: UnicodeDecodeError, label: str, record: int) -> str:
    if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return f"{label}: is UTF-16 text; save it as plain ASCII or UTF-8 text"
    return (
        f"{label}: byte {error.object[error.start]:#04x} near record {record} is not text in ASCII; "
        "the file is binary or damaged, or a name holds a letter to replace"
    )


def _too_large(label: str, max_bases: int) -> str:
    return f"{label}: more than {max_bases:,} bases; send fewer records at a time"


class _Bounded(io.RawIOBase):
    """A readable stream that stops with an error past a number of decompressed bytes."""

    def __init__(self, stream: BinaryIO, label: str, max_bases: int | None) -> None:
        self._stream = stream
        self._label = label
        self._max_bases = max_bases
        # Headers and line ends come on top of the bases: allow as much again, and a mebibyte.
        self._left = None if max_bases is None else 2 * max_bases + (1 << 20)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        if self._left is not None and self._max_bases is not None:
            self._left -= len(data)
            if self._left < 0:
                raise SequenceError(_too_large(self._label, self._max_bases))
        buffer[: len(data)] = data
        return len(data)
