"""The on-disk schema as constants: what FORMAT.md describes and the arrays follow."""

from dataclasses import dataclass

import numpy as np

from covpool.store.errors import FormatVersionError
from covpool.store.keys import Recipe, canonical_json, sha256

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

#: Bytes of a row of `record`: key digest, sequence digest, token count, sequence length.
RECORD_BYTES = 80


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


def encode_record(key: str, sequence: str, count: int, length: int) -> bytes:
    """A row of `record`: two 32-byte digests, then two little-endian int64."""
    return bytes.fromhex(key) + bytes.fromhex(sequence) + np.array([count, length], "<i8").tobytes()


def decode_record(record: bytes) -> tuple[str, str, int, int]:
    """Key digest, sequence digest, token count and sequence length in bp of a row of `record`."""
    count, length = np.frombuffer(record[64:], "<i8")
    return record[:32].hex(), record[32:64].hex(), int(count), int(length)


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
