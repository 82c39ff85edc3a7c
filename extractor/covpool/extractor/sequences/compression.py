"""Compression: bytes unpacked as they arrive, from a file or a pipe; the first bytes identify the format.

gzip (also bgzip), bzip2, xz and Zstandard, in one or several members. Unlike the file objects of the
libraries, truncated data, and data after the last member, are errors. Zeros after the last member (tape
blocks) are ignored, as in gzip.
"""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from covpool.extractor.files.unreadable import PACKED, zstd

#: Bytes read, and at most unpacked, at once.
CHUNK = 1 << 16
#: Number of first bytes that identify the format.
LONGEST_MAGIC = 6
#: Number of a member's first bytes that the decoder gets at once: little is copied if members are small.
_FIRST = 1 << 10
#: Fixed part of a gzip member's header with the length of its extra field (RFC 1952, section 2.3).
_GZIP_HEAD = 12


class DamagedError(Exception):
    """Packed data that cannot be unpacked completely; the message and `remedy` say what to do."""

    def __init__(self, what: str, remedy: str, *, cut: bool = False) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.cut = cut


class _Gunzip:
    """zlib's decoder of a gzip member, with the interface of the other decoders."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        decompressed = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(decompressed) < max_length
        return decompressed


@dataclass(frozen=True)
class Format:
    """A compression format.

    Attributes:
        name: its name in messages.
        unpack: the command that unpacks a file and keeps it.
        magic: the first bytes of each member.
        decoder: makes the decoder of a member.
    """

    name: str
    unpack: str
    magic: "re.Pattern[bytes]"
    decoder: Callable[[], Any]


GZIP = Format("gzip", "gunzip -k", re.compile(rb"\x1f\x8b"), _Gunzip)
FORMATS = (
    GZIP,
    Format("bzip2", "bunzip2 -k", re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor),
    Format("xz", "unxz -k", re.compile(rb"\xfd7zXZ\x00"), lzma.LZMADecompressor),
    # The second form is a skippable frame: pzstd and seekable files have them.
    Format("zstd", "unzstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), zstd.ZstdDecompressor),
)


@dataclass(frozen=True)
class Member:
    """Start of a member.

    Attributes:
        packed: its offset in the file, in bytes.
        unpacked: unpacked bytes of the members before it.
        bgzip: it states its own size, as in bgzip (SAM specification, section 4.1).
    """

    packed: int
    unpacked: int
    bgzip: bool


def format_of(head: bytes) -> Format | None:
    """The format of a file with these first bytes; None if it is not packed."""
    return next((form for form in FORMATS if form.magic.match(head)), None)


def unpack(
    read: Callable[[int], bytes], form: Format, begun: Callable[[Member], None] = lambda member: None
) -> Iterator[bytes]:
    """The unpacked data of all members, at most `CHUNK` bytes at once.

    Args:
        read: returns the next bytes of the file, at most the given number; none at its end.
        form: the format of every member.
        begun: called with each member before it is unpacked.

    Raises:
        DamagedError: the data are truncated or corrupt, or other data follow the last member.
    """
    raw = _Raw(read)
    unpacked = 0
    bgzip = filled = False
    while raw.more(first=raw.position == 0):
        member = Member(raw.position, unpacked, form is GZIP and _is_bgzip(raw))
        if not form.magic.match(raw.ahead(LONGEST_MAGIC)):
            raise DamagedError(
                f"after its last {form.name} member, at byte {raw.position:,}, are other data",
                f"the members before are complete: unpack them yourself ({form.unpack}) and give the result, "
                "unless data are missing from it",
            )
        begun(member)
        bgzip, filled = member.bgzip, False
        for data in _member(raw, form):
            filled = True
            unpacked += len(data)
            yield data
    if bgzip and filled:
        raise DamagedError(
            "the bgzip end marker is missing",
            "the file is truncated between two blocks, fetch it or write it again with bgzip",
            cut=True,
        )


def _member(raw: "_Raw", form: Format) -> Iterator[bytes]:
    decoder, size = form.decoder(), _FIRST
    while not decoder.eof:
        wants_input = decoder.needs_input
        chunk = raw.take(size) if wants_input else b""
        size = min(2 * size, CHUNK)
        try:
            decompressed = decoder.decompress(chunk, CHUNK)
        except (*PACKED, OSError, ValueError) as error:
            raise DamagedError(
                f"its {form.name} data are corrupt ({error})",
                "the file is corrupt, fetch it or pack it again",
            ) from error
        if decompressed:
            yield decompressed
        elif wants_input and not chunk and not decoder.eof:
            raise DamagedError(
                f"its {form.name} data end too early",
                "the file is truncated, fetch it or pack it again",
                cut=True,
            )
    raw.give_back(len(decoder.unused_data))


def _is_bgzip(raw: "_Raw") -> bool:
    head = raw.ahead(_GZIP_HEAD)
    if len(head) < _GZIP_HEAD or not head[3] & 4:
        return False
    extra = raw.ahead(_GZIP_HEAD + int.from_bytes(head[10:12], "little"))[_GZIP_HEAD:]
    while len(extra) >= 4:
        if extra[:4] == b"BC\x02\x00":
            return True
        extra = extra[4 + int.from_bytes(extra[2:4], "little") :]
    return False


class _Raw:
    """The packed bytes; they can be read ahead before they are taken, and given back."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0
        self._before = 0

    @property
    def position(self) -> int:
        """Offset in the file of the next byte to take."""
        return self._before + self._at

    def ahead(self, size: int) -> bytes:
        """The next bytes, without taking them; fewer at the end."""
        while len(self._data) - self._at < size and (data := self._read(CHUNK)):
            self._data = self._data[self._at :] + data
            self._before += self._at
            self._at = 0
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Take the next bytes: at least one, except at the end."""
        if self._at == len(self._data):
            self._before += self._at
            self._data, self._at = self._read(CHUNK), 0
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def give_back(self, size: int) -> None:
        """Give back the last `size` bytes taken; they are taken again."""
        self._at -= size

    def more(self, *, first: bool) -> bool:
        """Whether data are left; zeros after a member do not count."""
        while data := self.ahead(1):
            if first or data != b"\0":
                return True
            rest = self._data[self._at :]
            self._at += len(rest) - len(rest.lstrip(b"\0"))
        return False
