"""FASTA files: records in, normalised sequences out; plain or packed, from a file or a pipe.

`fasta_text` separates headers from sequence; `sequences` decides which letters are DNA.
"""

import io
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

from covpool.extractor.errors import SequenceError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.sequences.fasta_faults import STANDARD_INPUT
from covpool.extractor.sequences.fasta_text import BLANKS, FastaText, Header, Piece, count_lines
from covpool.extractor.sequences.sequences import LETTERS, Sequence, normalise

Source = str | PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True)
class Refused:
    """A record that is not DNA; `error` names it and states the reason."""

    name: str
    error: str


def read_fasta(
    source: Source, *, label: str | None = None, max_bases: int | None = None
) -> Iterator[Sequence]:
    """Normalised sequences of a FASTA file, in file order.

    Args:
        source: a path (also of a pipe), the file's bytes, or an open binary file, which is read once and
            stays open. Plain, or packed with gzip, bgzip, bzip2, xz or zstd.
        label: name of the file in messages; the path by default.
        max_bases: refuse more bases than this over all records (guards against gzip bombs).

    Raises:
        SequenceError: the file is missing, empty, truncated, not FASTA or too large, a record is not DNA,
            or an id occurs twice. The message names file, line and record or position.
    """
    for record in _read(source, label, max_bases, strict=True):
        assert isinstance(record, Sequence)
        yield record


def read_records(
    source: Source, *, label: str | None = None, max_bases: int | None = None
) -> Iterator[Sequence | Refused]:
    """As `read_fasta`, but a record that is not DNA gives a `Refused`, and reading continues."""
    yield from _read(source, label, max_bases, strict=False)


def _read(
    source: Source, label: str | None, max_bases: int | None, *, strict: bool
) -> Iterator[Sequence | Refused]:
    label = label or _label_of(source)
    with _opened(source, label) as file:
        bound = _Bound(label, max_bases)
        text = FastaText(file, label, check=bound.check_text)
        for header, pieces in _records(text):
            record = _record(header, pieces, label, bound)
            if strict and isinstance(record, Refused):
                raise text.later_damage(SequenceError(record.error))
            yield record


def _records(text: FastaText) -> Iterator[tuple[Header, list[Piece]]]:
    header: Header | None = None
    pieces: list[Piece] = []
    for event in text:
        match event:
            case Header():
                if header is not None:
                    yield header, pieces
                header, pieces = event, []
            case Piece():
                pieces.append(event)
    assert header is not None
    yield header, pieces


def _label_of(source: Source) -> str:
    if isinstance(source, str | PathLike):
        return fspath(source)
    return "FASTA" if isinstance(source, bytes) else STANDARD_INPUT


def _opened(source: Source, label: str) -> "BinaryIO | nullcontext[BinaryIO]":
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str | PathLike):
        return nullcontext(source)
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise SequenceError(unreadable(error, label)) from error


def _record(header: Header, pieces: list[Piece], label: str, bound: "_Bound") -> Sequence | Refused:
    text = b"".join(piece.text for piece in pieces)
    bases = text.translate(None, BLANKS)
    bound.add(len(bases))
    try:
        return normalise(bases.decode("ascii"), header.name)
    except SequenceError as error:
        line = _foreign_line(pieces) or header.line
        return Refused(header.name, f"{label}, line {line}: record {header.record}: {error}")


def _foreign_line(pieces: list[Piece]) -> int | None:
    """The line of the first character that is not a nucleotide code."""
    for piece in pieces:
        if foreign := piece.text.translate(None, BLANKS + LETTERS):
            return piece.line + count_lines(piece.text[: piece.text.index(foreign[:1])])
    return None


class _Bound:
    """The limit on the number of bases."""

    def __init__(self, label: str, most: int | None) -> None:
        self._label, self._most = label, most
        self._bases = 0

    def add(self, bases: int) -> None:
        """Count a record's bases."""
        self._bases += bases
        if self._most is not None and self._bases > self._most:
            raise self._error()

    def check_text(self, size: int) -> None:
        """Refuse a text of `size` bytes if it must exceed the limit, or is far larger than its bases."""
        # Headers and line ends come in addition to the bases: allow the same amount, and a mebibyte.
        if self._most is not None and size > 2 * self._most + (1 << 20):
            raise self._error()

    def _error(self) -> SequenceError:
        return SequenceError(f"{self._label}: more than {self._most:,} bases; send fewer records at a time")
