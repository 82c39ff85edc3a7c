"""The on-disk schema as constants: what FORMAT.md describes and the arrays follow."""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from covpool.store.codecs import codec_of
from covpool.store.codecs.lossless import Lossless
from covpool.store.errors import FormatVersionError
from covpool.store.values.keys import Recipe, canonical_json, sha256

#: (major, minor); a reader refuses another major version and reads any minor one.
FORMAT_VERSION = (2, 1)
VERSION_TEXT = ".".join(map(str, FORMAT_VERSION))

#: Rows of every array of a namespace. Fixed at creation, so that writers never resize; costs no space.
CAPACITY = 1_000_000

ARRAYS = "arrays"

SECOND_MOMENT = "second_moment"
MEAN = "mean"
RECORD = "record"
#: Of a row, in the order in which it is written: what says whose it is comes last.
PARTS = (MEAN, SECOND_MOMENT, RECORD)

#: Bytes of a row of `record`, see `Record`.
RECORD_BYTES = 96
_RECORD = struct.Struct("<32s32sqqdII")


@dataclass(frozen=True)
class Namespace:
    """One set of arrays: all moments of one recipe in one dtype and codec.

    Attributes:
        recipe: shared by every row.
        width: number of features d.
        dtype: "float32" or "float64".
        codec: id of how a second moment is compressed, see `covpool.store.codecs`.
        capacity: rows of the arrays.
    """

    recipe: Recipe
    width: int
    dtype: str
    codec: str = Lossless.id
    capacity: int = CAPACITY

    @property
    def bound(self) -> float:
        """Largest relative Frobenius error its codec allows; 0.0 if lossless."""
        return codec_of(self.codec).bound

    @cached_property
    def id(self) -> str:
        """Name of the namespace's folder: a digest, so that no user text reaches the file system."""
        return sha256(canonical_json([self.recipe.digest, self.width, self.dtype, self.codec]))[:32]


def generation_path(namespace: Namespace, generation: int) -> str:
    """Where arrays lie: the namespace's own (generation 0), or those of its compacted copy n."""
    live = f"{ARRAYS}/{namespace.id}"
    return f"{live}/compacted.{generation}" if generation else live


def chunk_path(path: str, array: str, index: int) -> str:
    """The object of one chunk, or shard, of an array of the group `path`."""
    return f"{path}/{array}/c.{index}.0" + (".0" if array == SECOND_MOMENT else "")


def chunk_paths(path: str, index: int) -> list[str]:
    """The objects of a row, or shard, in the order of `PARTS`."""
    return [chunk_path(path, array, index) for array in PARTS]


@dataclass(frozen=True, slots=True)
class Record:
    """A row of `record`: whose the row is, and what belongs together in it.

    Attributes:
        key: the key's digest.
        sequence: digest of the bases.
        count: tokens.
        length: bp.
        error: relative Frobenius error of the stored second moment against the one put; 0.0 if lossless.
        mean_checksum: CRC-32C that ends the row's chunk of `mean`.
        second_moment_checksum: CRC-32C that ends the row's chunk of `second_moment`.
    """

    key: str
    sequence: str
    count: int
    length: int
    error: float
    mean_checksum: int
    second_moment_checksum: int

    @property
    def checksum(self) -> int:
        """CRC-32C that ends the row's chunk of `record`: it stands for all three chunks of the row."""
        checksum: int = google_crc32c.value(self.to_bytes())
        return checksum

    def to_bytes(self) -> bytes:
        """Two 32-byte digests, two int64, one float64 and two uint32, little-endian."""
        return _RECORD.pack(
            bytes.fromhex(self.key),
            bytes.fromhex(self.sequence),
            self.count,
            self.length,
            self.error,
            self.mean_checksum,
            self.second_moment_checksum,
        )

    @classmethod
    def from_bytes(cls, data: bytes | NDArray[np.uint8]) -> Self:
        """What `to_bytes` wrote; bytes of another size raise `ValueError`."""
        try:
            key, sequence, *numbers = _RECORD.unpack(bytes(data))
        except struct.error as error:
            raise ValueError(f"a record has {RECORD_BYTES} bytes ({error})") from error
        return cls(key.hex(), sequence.hex(), *numbers)


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
