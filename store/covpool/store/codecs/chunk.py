"""The interface of a codec, and the checksum at the end of every chunk."""

from typing import Any, ClassVar, NamedTuple, Protocol, Self

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from covpool.store.values.moments import FloatArray

CHECKSUM_BYTES = 4


class Encoded(NamedTuple):
    """A packed matrix as bytes.

    Attributes:
        data: the bytes to store, before their checksum.
        error: relative Frobenius error of the decoded matrix, over the full matrix; 0.0 if lossless.
    """

    data: bytes
    error: float


class ChunkCodec(Protocol):
    """One way to write a packed second moment (`covpool.store.values.packing`) as one chunk.

    Encoding here and encoding by zarr through `zarr_arguments` give the same bytes; the store calls the codec
    itself because zarr's event loop costs more time than the compression of a small matrix.

    Attributes:
        example: the name that users give, with an argument after a colon if it takes one.
    """

    example: ClassVar[str]

    @classmethod
    def of_choice(cls, argument: str) -> Self:
        """The codec with an argument from a user; ValueError if the argument is not valid."""

    @classmethod
    def of_id(cls, identifier: str) -> Self | None:
        """The codec of an id; None if the id is of another codec."""

    @property
    def id(self) -> str:
        """Name in the digest of the namespace; it determines how the array is read."""

    @property
    def bound(self) -> float:
        """Largest relative Frobenius error a stored matrix may have; 0.0 if lossless."""

    def zarr_arguments(self, itemsize: int) -> dict[str, Any]:
        """`serializer` and `compressors` for `zarr.create_array`, ending in crc32c."""

    def encode(self, packed: FloatArray, count: int) -> Encoded:
        """Bytes of a packed matrix that is the mean over `count` tokens."""

    def decode(self, data: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The matrix that was encoded, within its error; ValueError or RuntimeError for damaged data."""


class Plain:
    """The part that codecs without an argument share."""

    id: str

    @classmethod
    def of_choice(cls, argument: str) -> Self:
        """The codec; there is no argument."""
        return cls()

    @classmethod
    def of_id(cls, identifier: str) -> Self | None:
        """The codec, if the id is its own."""
        return cls() if identifier == cls.id else None


def seal(data: bytes) -> bytes:
    """CRC-32C of `data`, to be written after it: Zarr's `crc32c` codec."""
    checksum: int = google_crc32c.value(data)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")


def unseal(chunk: bytes) -> NDArray[np.uint8]:
    """The chunk without its checksum, as a view.

    Raises:
        ValueError: the chunk is too short for a checksum, or the checksum differs.
    """
    if len(chunk) < CHECKSUM_BYTES:
        raise ValueError(f"{len(chunk)} bytes are too few")
    data = np.frombuffer(chunk, np.uint8)[:-CHECKSUM_BYTES]
    if google_crc32c.value(data) != checksum_of(chunk):
        raise ValueError("its checksum differs")
    return data


def checksum_of(chunk: bytes) -> int:
    """The checksum a sealed chunk ends in."""
    return int.from_bytes(chunk[-CHECKSUM_BYTES:], "little")
