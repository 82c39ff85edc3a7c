"""FASTA text: the one place that says which bytes of a file are headers, comments and sequence.

`read_fasta` and the index of a `Genome` both go through a file with it, so that they cannot differ. Lines end
in LF, CR LF or CR, also mixed; blanks count nowhere; lines may have any length; lines that begin with "#" or
";" are comments. Convention: lines and records count from 1, offsets (in the unpacked text) from 0.
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

#: What is no part of a sequence.
BLANKS = b" \t\n\r\v\f"
_TEXT = re.compile(rb"[^ \t\n\r\v\f]")
#: What begins a line that is no sequence.
_MARKS = b">#;"
_LONGEST_LINE = 1 << 22


@dataclass(frozen=True)
class Header:
    """Begins a record: its number, its id, and the line it stands on."""

    record: int
    name: str
    line: int


@dataclass(frozen=True)
class Piece:
    """Some of a record's sequence with its blanks and line ends, where it lies, and its first line."""

    offset: int
    line: int
    text: bytes = field(repr=False)


@dataclass(frozen=True)
class Comment:
    """A line that is passed over."""

    line: int


def count_lines(text: bytes) -> int:
    """Line ends of a text."""
    ends = text.count(b"\n")
    return ends + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else ends


class FastaText:
    """One pass over a file: `Header`, `Piece` and `Comment` in file order.

    Args:
        file: read once, from where it stands; need not be seekable.
        label: what messages call it.
        check: called with the number of bytes after each block, to stop a file that is too large.
        form: told how the file is packed, before anything is unpacked.
        begun: told of each member of a packed file.

    Raises:
        SequenceError: when iterated: it cannot be read, is damaged, or no FASTA; file, line and remedy are
            told.
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
        # Whether what comes next stands in the middle of a line of sequence.
        self._within = False
        self._packed = False
        self._rest = self._blocks()

    def __iter__(self) -> Iterator[Header | Piece | Comment]:
        try:
            yield from self._read()
        except SequenceError as error:
            raise self.damage_behind(error) from error.__cause__

    def damage_behind(self, error: SequenceError) -> SequenceError:
        """The damage that shows when the rest of a packed file is read, or else this error of its text.

        Packed data tell that they are corrupt only at the end of a member; until then their text is blamed.
        """
        try:
            while self._packed and next(self._rest, None) is not None:
                pass
        except SequenceError as found:
            return found if isinstance(found.__cause__, DamagedError) else error
        return error

    def _read(self) -> Iterator[Header | Piece | Comment]:
        left = b""
        for block in chain(self._rest, (None,)):
            data = left + (block or b"")
            # Of a CR the LF may be yet to come.
            held = b"\r" if block is not None and data.endswith(b"\r") else b""
            data = data[: len(data) - len(held)]
            used = yield from self._events(data, last=block is None)
            self._offset += used
            left = data[used:] + held
            if len(left) > _LONGEST_LINE:
                raise SequenceError(
                    f"{self._label}, line {self._line}: a header or comment of more than {_LONGEST_LINE:,} "
                    "bytes; shorten it, or put a line end behind it"
                )
        if not self._seen:
            raise SequenceError(no_record(self._label, self._offset, pipe=_is_pipe(self._file)))

    def _blocks(self) -> Iterator[bytes]:
        """The unpacked text in blocks of some size, the last one smaller."""
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
            told = damaged(error, self._label, len(self._seen), pipe=_is_pipe(self._file))
            raise SequenceError(told) from error
        except OSError as error:
            raise SequenceError(unreadable(error, self._label, f"behind record {len(self._seen)}")) from error
        self._check(total + size)
        yield b"".join(waiting)

    def _unpacked(self) -> Iterator[bytes]:
        head = b""
        # A pipe may give less than it is asked for.
        while len(head) < LONGEST_MAGIC and (more := self._file.read(CHUNK)):
            head += more
        given = chain((head,), iter(lambda: self._file.read(CHUNK), b""))
        found = format_of(head)
        self._packed = found is not None
        self._form(found)
        return given if found is None else unpack(lambda _: next(given, b""), found, self._begun)

    def _events(self, data: bytes, *, last: bool) -> Generator[Header | Piece | Comment, None, int]:
        """Events of the data; returns how much of it is used up."""
        marks = _Marks(data)
        at = 0
        while at < len(data):
            if not self._within:
                found = _TEXT.search(data, at)
                if found is None:
                    self._line += count_lines(data[at:])
                    return len(data)
                start = found.start()
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
                    whole = data[start : marks.line_end(start)]
                    raise SequenceError(not_fasta(whole, self._label, line, first=self._offset + at == 0))
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
        """The event of a line that is no sequence, without its end."""
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
            raise SequenceError(f"{where}: the id holds control characters; rename it, or mend the file")
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
            # A letter that the piece cuts in two is a letter still.
            if error.start == 0 and error.reason != "unexpected end of data":
                return not_text(piece[at], self._label, line, len(self._seen))
        return not_ascii(piece[at : at + 4], "the sequence", self._label, line, len(self._seen))


class _Marks:
    """Line ends and marked lines of a block of text; each kind of mark is looked for once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._cr = b"\r" in data
        self._next = dict.fromkeys(_MARKS, -1)

    def line_end(self, at: int) -> int:
        """Where the line of this place ends."""
        found = self._data.find(b"\n", at)
        end = len(self._data) if found < 0 else found
        if self._cr and (found := self._data.find(b"\r", at, end)) >= 0:
            return found
        return end

    def next_line(self, at: int) -> int:
        """Where the mark of the next marked line stands, on a line after the one of `at`."""
        floor = at
        while (mark := self._next_mark(at)) < len(self._data):
            begin = self._data.rfind(b"\n", floor, mark)
            if self._cr:
                begin = max(begin, self._data.rfind(b"\r", floor, mark))
            if begin >= 0 and not self._data[begin + 1 : mark].strip(BLANKS):
                return mark
            # In the middle of a line: there is no marked line before its end.
            at = floor = self.line_end(mark)
        return len(self._data)

    def _next_mark(self, at: int) -> int:
        for mark, known in self._next.items():
            if known < at:
                found = self._data.find(mark, at)
                self._next[mark] = len(self._data) if found < 0 else found
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
