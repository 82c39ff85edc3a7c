"""The 32 bytes at the start of an error-bounded chunk."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

_MAGIC, _VERSION = b"CPEB", 1
_LAYOUT = struct.Struct("<4sBBBBIIdd")
HEADER_BYTES = _LAYOUT.size


class Mode(IntEnum):
    """Form of the rest of the chunk."""

    EXACT = 0
    CORRELATION = 1
    FACTOR = 2


@dataclass(frozen=True, slots=True)
class Header:
    """Description of one encoded matrix.

    Attributes:
        mode: form of the payload.
        itemsize: 4 or 8, bytes of the floats of the matrix.
        bits: N, bits of the integers, sign included; 0 if exact.
        width: number of features d.
        rank: columns of the factor; 0 in the other forms.
        bound: requested relative Frobenius error.
        error: measured relative Frobenius error of the decoded payload, at most `bound`.
    """

    mode: Mode
    itemsize: int
    bits: int
    width: int
    rank: int
    bound: float
    error: float

    def to_bytes(self) -> bytes:
        """`CPEB`; version, mode, itemsize, bits (uint8); width, rank (uint32); bound, error (float64)."""
        numbers = (self.mode, self.itemsize, self.bits, self.width, self.rank, self.bound, self.error)
        return _LAYOUT.pack(_MAGIC, _VERSION, *numbers)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The header that `data` starts with; anything else raises `ValueError`."""
        if len(data) < HEADER_BYTES:
            raise ValueError(f"{len(data)} bytes hold no header")
        magic, version, mode, *numbers = _LAYOUT.unpack_from(data)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"unknown form {magic!r}, version {version}; upgrade covpool to read it")
        return cls(Mode(mode), *numbers)
