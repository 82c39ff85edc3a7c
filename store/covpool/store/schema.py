"""The on-disk schema as constants: what FORMAT.md describes and the arrays follow."""

import struct
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from covpool.store.errors import FormatVersionError
from covpool.store.keys import Recipe, canonical_json, sha256
from covpool.store.moments import FloatArray

#: (major, minor); a reader refuses another major version and reads any minor one.
FORMAT_VERSION = (1, 0)

#: Rows of every array of a namespace. Fixed at creation, so that writers never resize; costs no space.
CAPACITY = 1_000_000

#: Codec chain of the lossless default: packed form, bit-shuffled LZ4, checksum.
CODEC = "rfp+blosc-lz4-bitshuffle+crc32c"

ARRAYS = "arrays"
CATALOG_FILE = "catalog.sqlite"

SECOND_MOMENT = "second_moment"
MEAN = "mean"
RECORD = "record"

#: Bytes of a row of `record`, see `Record`.
RECORD_BYTES = 84
_RECORD = struct.Struct("<32s32sqqI")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One set of arrays: all moments of one recipe in one dtype and codec.

    Attributes:
        recipe: shared by every row.
        width: number of features d.
        dtype: "float32" or "float64".
        codec: how a row is packed and compressed.
        capacity: rows of the arrays.
    """

    recipe: Recipe
    width: int
    dtype: str
    codec: str = CODEC
    capacity: int = CAPACITY

    @property
    def id(self) -> str:
        """Name of the namespace's folder: a digest, so that no user text reaches the file system."""
        return sha256(canonical_json([self.recipe.digest, self.width, self.dtype, self.codec]))[:32]


@dataclass(frozen=True, slots=True)
class Record:
    """A row of `record`: whose the row is, and what belongs together in it.

    Attributes:
        key: the key's digest.
        sequence: digest of the bases.
        count: tokens.
        length: bp.
        checksum: CRC-32 of the row's mean followed by its packed second moment, uncompressed.
    """

    key: str
    sequence: str
    count: int
    length: int
    checksum: int

    def to_bytes(self) -> bytes:
        """Two 32-byte digests, two int64 and one uint32, little-endian."""
        return _RECORD.pack(
            bytes.fromhex(self.key), bytes.fromhex(self.sequence), self.count, self.length, self.checksum
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote."""
        key, sequence, count, length, checksum = _RECORD.unpack(data)
        return cls(key.hex(), sequence.hex(), count, length, checksum)


def row_checksum(mean: FloatArray, packed: FloatArray) -> int:
    """CRC-32 over both arrays: it ties together the chunks of a row, each of which has one of its own."""
    return zlib.crc32(np.ascontiguousarray(packed).data, zlib.crc32(np.ascontiguousarray(mean).data))


def check_version(version: str, where: str) -> None:
    """Refuse a store of another major format version.

    Raises:
        FormatVersionError: with the remedy for an older or newer store.
    """
    major = int(version.split(".")[0])
    if major == FORMAT_VERSION[0]:
        return
    remedy = (
        "upgrade covpool to read it"
        if major > FORMAT_VERSION[0]
        else "read it with the covpool release that wrote it and export it, or compute it again"
    )
    raise FormatVersionError(
        f"{where}: written in format {version}, this covpool reads {FORMAT_VERSION[0]}.x; {remedy}"
    )


def version_text() -> str:
    """The version this code writes, "major.minor"."""
    return ".".join(map(str, FORMAT_VERSION))
