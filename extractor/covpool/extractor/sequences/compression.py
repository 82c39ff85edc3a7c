"""Compression: bytes unpacked as they arrive, from a file or a pipe; the format is told by the first bytes.

gzip (bgzip too), bzip2, xz and Zstandard, in one member or several. Strict at the end, where the libraries'
own file objects are not: what is cut off, or followed by what is no member, is told of. Zeros behind the last
member (blocks of a tape) are passed over, as gzip does.
"""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Bytes read, and at most unpacked, at once.
CHUNK = 1 << 16
#: Bytes that tell the format.
LONGEST_MAGIC = 6
#: Of a member's first bytes that are handed to the decoder: little is copied where members are small.
_FIRST = 1 << 10
#: Fixed part of a gzip member's header with the length of its extra field (RFC 1952, section 2.3).
_GZIP_HEAD = 12


class DamagedError(Exception):
    """Packed data that cannot be unpacked to the end; the words say what is wrong and what to do."""

    def __init__(self, what: str, remedy: str, *, cut: bool = False) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.cut = cut


class _Gunzip:
    """zlib's decoder of a gzip member, with the interface of the other three."""

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
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(found) < max_length
        return found


@dataclass(frozen=True)
class Format:
    """A way of packing.

    Attributes:
        name: what messages call it.
        unpack: the command that unpacks a file and keeps it.
        magic: how each member begins.
        decoder: makes one for a member.
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
    # The second form is a frame to skip: pzstd and seekable files have such.
    Format("zstd", "unzstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), zstd.ZstdDecompressor),
)


@dataclass(frozen=True)
class Member:
    """Where a member begins.

    Attributes:
        packed: its offset in the file, in bytes.
        unpacked: bytes that the members before it hold.
        bgzip: it says its own size, as those of bgzip do (SAM specification, section 4.1).
    """

    packed: int
    unpacked: int
    bgzip: bool


def format_of(head: bytes) -> Format | None:
    """How a file that begins so is packed; None where it is not."""
    return next((one for one in FORMATS if one.magic.match(head)), None)


def unpack(
    read: Callable[[int], bytes], form: Format, begun: Callable[[Member], None] = lambda member: None
) -> Iterator[bytes]:
    """What all members hold, at most `CHUNK` bytes at once.

    Args:
        read: the next bytes of the file, so many at most; none at its end.
        form: of every member.
        begun: told of each member before anything of it is unpacked.

    Raises:
        DamagedError: the data are cut off or corrupt, or go on with what is no member.
    """
    raw = _Raw(read)
    unpacked = 0
    bgzip = filled = False
    while raw.more(first=raw.position == 0):
        member = Member(raw.position, unpacked, form is GZIP and _is_bgzip(raw))
        if not form.magic.match(raw.ahead(LONGEST_MAGIC)):
            raise DamagedError(
                f"behind its last {form.name} member, at byte {raw.position:,}, lies what is no {form.name}",
                f"the members before are whole: unpack them yourself ({form.unpack}) and give the result, "
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
        hungry = decoder.needs_input
        given = raw.take(size) if hungry else b""
        size = min(2 * size, CHUNK)
        try:
            found = decoder.decompress(given, CHUNK)
        except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, ValueError, EOFError) as error:
            raise DamagedError(
                f"its {form.name} data are corrupt ({error})",
                "the file is corrupt, fetch it or pack it again",
            ) from error
        if found:
            yield found
        elif hungry and not given and not decoder.eof:
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
    """The packed bytes, of which some may be looked at before they are taken, or given back."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0
        self._before = 0

    @property
    def position(self) -> int:
        """Offset in the file of what is taken next."""
        return self._before + self._at

    def ahead(self, size: int) -> bytes:
        """The next bytes, which stay; fewer at the end."""
        while len(self._data) - self._at < size and (data := self._read(CHUNK)):
            self._data = self._data[self._at :] + data
            self._before += self._at
            self._at = 0
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """The next bytes: some, unless there are none."""
        if self._at == len(self._data):
            self._before += self._at
            self._data, self._at = self._read(CHUNK), 0
        found = self._data[self._at : self._at + size]
        self._at += len(found)
        return found

    def give_back(self, size: int) -> None:
        """Bytes of the last ones taken, to be taken again."""
        self._at -= size

    def more(self, *, first: bool) -> bool:
        """Whether anything is left; behind a member zeros do not count."""
        while data := self.ahead(1):
            if first or data != b"\0":
                return True
            rest = self._data[self._at :]
            self._at += len(rest) - len(rest.lstrip(b"\0"))
        return False
