"""pcodec: the exact codec for archived matrices, mostly smaller than the default, and streams of integers.

pcodec is a numerical coder that compresses close to the entropy; it encodes an order of magnitude slower.
Real moments took between 9 % less and 1 % more space than with the default (`benchmarks/store.py`). In Zarr
it is the extension codec `numcodecs.pcodec`.
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs.pcodec import PCodec
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, numcodecs

from covpool.store.codecs.chunk import Encoded, Plain
from covpool.store.values.moments import FloatArray

LEVEL = 8
_PCODEC = PCodec(level=LEVEL)


@dataclass(frozen=True)
class Cold(Plain):
    """Zarr's `numcodecs.pcodec` (level 8), `crc32c`."""

    id: str = "rfp+pcodec+crc32c"
    bound: float = 0.0

    example: ClassVar[str] = "cold"

    def zarr_arguments(self, itemsize: int) -> dict[str, Any]:
        """Codec chain of the array."""
        with warnings.catch_warnings():
            # zarr warns that other implementations may lack the codec; FORMAT.md says so too.
            warnings.simplefilter("ignore")
            return {"serializer": numcodecs.PCodec(level=LEVEL), "compressors": [Crc32cCodec()]}

    def encode(self, packed: FloatArray, count: int) -> Encoded:
        """One pcodec stream over the rectangle, row by row."""
        return Encoded(stream(packed), 0.0)

    def decode(self, data: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Decompress straight into the array."""
        return unstream(data, shape, dtype)


def largest(bits: int) -> int:
    """Largest magnitude that N bits hold on both sides of zero, 2^(N-1) - 1."""
    return int(2 ** (bits - 1) - 1)


def dtype_for(bits: int) -> np.dtype[Any]:
    """Smallest integer type of pcodec that holds N bits."""
    return np.dtype(np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64)


def stream(numbers: NDArray[Any]) -> bytes:
    """One pcodec stream, in C order."""
    encoded: bytes = _PCODEC.encode(np.ascontiguousarray(numbers))
    return encoded


def unstream(data: bytes | NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array that `stream` encoded; ValueError if the stream has another number of items."""
    numbers = np.empty(shape, dtype)
    _PCODEC.decode(data, numbers)
    return numbers
