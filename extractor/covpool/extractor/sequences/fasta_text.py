"""FASTA text: decides which bytes of a file are headers, comments and sequence.

`read_fasta` and the index of a `Genome` both use it, so that they cannot differ. Lines end in LF, CR LF or
CR, also mixed; blanks are ignored; lines may have any length; lines that begin with "#" or ";" are comments.
Convention: lines and records are counted from 1, offsets (in the unpacked text) from 0.
"""

import os
import re
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from covpool.extractor.errors import SequenceError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.sequences.compression import (
    CHUNK,
    LONGEST_MAGIC,
    DamagedError,
    Format,
    Member,
    format_of,
    unpack,
)
from covpool.extractor.sequences.fasta_faults import damaged, no_record, not_ascii, not_fasta, not_text

#: Bytes that are not part of a sequence.
BLANKS = b" \t\n\r\v\f"
_TEXT = re.compile(rb"[^ \t\n\r\v\f]")
#: First bytes of lines that are not sequence.
_MARKS = b">#;"
_LONGEST_LINE = 1 << 22


@dataclass(frozen=True)
class Header:
    """The start of a record: its number, its id, and its line."""

    record: int
    name: str
    line: int


@dataclass(frozen=True)
class Piece:
    """A piece of a record's sequence with its blanks and line ends, its offset and its first line."""

    offset: int
    line: int
    text: bytes = field(repr=False)


@dataclass(frozen=True)
class Comment:
    """A line that is ignored."""

    line: int


def count_lines(text: bytes) -> int:
    """Number of line ends of a text."""
    ends = text.count(b"\n")
    return ends + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else ends


class FastaText:
    """One pass over a file: `Header`, `Piece` and `Comment` in file order.

    Args:
        file: read once from its current position; need not be seekable.
        label: its name in messages.
        check: called with the number of bytes after each block, to stop a file that is too large.
        form: called with the format of the file before it is unpacked.
        begun: called with each member of a packed file.

    Raises:
        SequenceError: on iteration: the file cannot be read, is damaged or is not FASTA; the message has
            file, line and remedy.
    """

    def __init__(
        self,
        file: BinaryIO,
        label: str,
        *,
        check: Callable[[int], None] = lambda size: None,
        form: Callable[[Format | None], None] = lambda form: None,
        begun: Callable[[Member], None] = lambda member: None,
    ) -> None:
        self._file, self._label = file, label
        self._check, self._form, self._begun = check, form, begun
        self._seen: dict[str, int] = {}
        self._line = 1
        self._offset = 0
        # Whether the next data continue a line of sequence.
        self._within = False
        self._packed = False
        self._rest = self._blocks()

    def __iter__(self) -> Iterator[Header | Piece | Comment]:
        try:
            yield from self._read()
        except SequenceError as error:
            raise self.later_damage(error) from error.__cause__

    def later_damage(self, error: SequenceError) -> SequenceError:
        """The damage that appears when the rest of a packed file is read, or else this error of its text.

        Corrupt packed data are detected only at the end of a member; before that, their text causes errors.
        """
        try:
            while self._packed and next(self._rest, None) is not None:
                pass
        except SequenceError as damage:
            return damage if isinstance(damage.__cause__, DamagedError) else error
        return error

    def _read(self) -> Iterator[Header | Piece | Comment]:
        left = b""
        for block in chain(self._rest, (None,)):
            data = left + (block or b"")
            # The LF after a CR may be in the next block.
            held = b"\r" if block is not None and data.endswith(b"\r") else b""
            data = data[: len(data) - len(held)]
            used = yield from self._events(data, last=block is None)
            self._offset += used
            left = data[used:] + held
            if len(left) > _LONGEST_LINE:
                raise SequenceError(
                    f"{self._label}, line {self._line}: a header or comment of more than {_LONGEST_LINE:,} "
                    "bytes; shorten it, or put a line end after it"
                )
        if not self._seen:
            raise SequenceError(no_record(self._label, self._offset, pipe=_is_pipe(self._file)))

    def _blocks(self) -> Iterator[bytes]:
        """The unpacked text in blocks of at least `CHUNK` bytes; the last may be smaller."""
        waiting: list[bytes] = []
        size = total = 0
        try:
            for data in self._unpacked():
                waiting.append(data)
                size += len(data)
                if size >= CHUNK:
                    total += size
                    self._check(total)
                    yield b"".join(waiting)
                    waiting, size = [], 0
        except DamagedError as error:
            message = damaged(error, self._label, len(self._seen), pipe=_is_pipe(self._file))
            raise SequenceError(message) from error
        except OSError as error:
            raise SequenceError(unreadable(error, self._label, f"after record {len(self._seen)}")) from error
        self._check(total + size)
        yield b"".join(waiting)

    def _unpacked(self) -> Iterator[bytes]:
        head = b""
        # A pipe may return less than requested.
        while len(head) < LONGEST_MAGIC and (more := self._file.read(CHUNK)):
            head += more
        chunks = chain((head,), iter(lambda: self._file.read(CHUNK), b""))
        form = format_of(head)
        self._packed = form is not None
        self._form(form)
        return chunks if form is None else unpack(lambda _: next(chunks, b""), form, self._begun)

    def _events(self, data: bytes, *, last: bool) -> Generator[Header | Piece | Comment, None, int]:
        """Events of the data; returns the number of bytes used."""
        marks = _Marks(data)
        at = 0
        while at < len(data):
            if not self._within:
                match = _TEXT.search(data, at)
                if match is None:
                    self._line += count_lines(data[at:])
                    return len(data)
                start = match.start()
                if data[start] in _MARKS:
                    end = marks.line_end(start)
                    if end == len(data) and not last:
                        return at
                    self._line += count_lines(data[at:start])
                    yield self._marked(data[start:end])
                    at = end + (2 if data[end : end + 2] == b"\r\n" else 1)
                    self._line += 1
                    continue
                if not self._seen:
                    line = self._line + count_lines(data[at:start])
                    line_text = data[start : marks.line_end(start)]
                    raise SequenceError(not_fasta(line_text, self._label, line, first=self._offset + at == 0))
            end = marks.next_line(at)
            piece = data[at:end]
            if not piece.isascii():
                raise SequenceError(self._foreign(piece))
            yield Piece(self._offset + at, self._line, piece)
            self._line += count_lines(piece)
            self._within = end == len(data) and _in_line(piece)
            at = end
        return min(at, len(data))

    def _marked(self, text: bytes) -> Header | Comment:
        """The event of a header or comment line, without its end."""
        if not text.startswith(b">"):
            return Comment(self._line)
        record = len(self._seen) + 1
        where = f"{self._label}, line {self._line}: record {record}"
        if not text.isascii():
            try:
                text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise SequenceError(not_text(text[error.start], self._label, self._line, record)) from error
            raise SequenceError(not_ascii(text, "the header", self._label, self._line, record))
        words = text[1:].split(maxsplit=1)
        if not words:
            raise SequenceError(f"{where} (unnamed): the header has no id; write '>id'")
        name = words[0].decode("ascii")
        if not name.isprintable():
            raise SequenceError(f"{where}: the id holds control characters; rename it, or repair the file")
        if name in self._seen:
            raise SequenceError(
                f"{where} ({name}): the id occurs twice, first in record {self._seen[name]}; rename one"
            )
        self._seen[name] = record
        return Header(record, name, self._line)

    def _foreign(self, piece: bytes) -> str:
        at = next(index for index, byte in enumerate(piece) if byte > 127)
        line = self._line + count_lines(piece[:at])
        try:
            piece[at : at + 4].decode("utf-8")
        except UnicodeDecodeError as error:
            # A letter may be cut by the end of the piece.
            if error.start == 0 and error.reason != "unexpected end of data":
                return not_text(piece[at], self._label, line, len(self._seen))
        return not_ascii(piece[at : at + 4], "the sequence", self._label, line, len(self._seen))


class _Marks:
    """Line ends and marked lines of a block of text; each kind of mark is searched once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._cr = b"\r" in data
        self._next = dict.fromkeys(_MARKS, -1)

    def line_end(self, at: int) -> int:
        """End of the line that contains index `at`."""
        lf = self._data.find(b"\n", at)
        end = len(self._data) if lf < 0 else lf
        if self._cr and (lf := self._data.find(b"\r", at, end)) >= 0:
            return lf
        return end

    def next_line(self, at: int) -> int:
        """Index of the next mark at the start of a line, after the line of `at`."""
        floor = at
        while (mark := self._next_mark(at)) < len(self._data):
            begin = self._data.rfind(b"\n", floor, mark)
            if self._cr:
                begin = max(begin, self._data.rfind(b"\r", floor, mark))
            if begin >= 0 and not self._data[begin + 1 : mark].strip(BLANKS):
                return mark
            # The mark is inside a line: no line starts before its end.
            at = floor = self.line_end(mark)
        return len(self._data)

    def _next_mark(self, at: int) -> int:
        for mark, next_at in self._next.items():
            if next_at < at:
                at_mark = self._data.find(mark, at)
                self._next[mark] = len(self._data) if at_mark < 0 else at_mark
        return min(self._next.values())


def _is_pipe(file: BinaryIO) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:
        return False


def _in_line(piece: bytes) -> bool:
    """Whether a piece of sequence ends in the middle of a line."""
    end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
    return end < 0 or bool(piece[end + 1 :].strip(BLANKS))
