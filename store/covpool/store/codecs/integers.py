"""Arrays of N-bit signed integers, as pcodec streams."""

from typing import Any

import numpy as np
from numcodecs.pcodec import PCodec
from numpy.typing import NDArray

PCODEC = PCodec(level=8)


def largest(bits: int) -> int:
    """Largest magnitude that N bits hold on both sides of zero, 2^(N-1) - 1."""
    return int(2 ** (bits - 1) - 1)


def dtype_for(bits: int) -> np.dtype[Any]:
    """Smallest integer type of pcodec that holds N bits."""
    return np.dtype(np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64)


def stream(numbers: NDArray[Any]) -> bytes:
    """One pcodec stream, in C order."""
    encoded: bytes = PCODEC.encode(np.ascontiguousarray(numbers))
    return encoded


def unstream(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array that `stream` encoded; ValueError if the stream has another number of items."""
    numbers = np.empty(shape, dtype)
    PCODEC.decode(data, numbers)
    return numbers
