"""Rectangular full packed (RFP) form: a symmetric matrix as one rectangle of exactly half its size.

Convention: LAPACK's RFP with TRANSR = 'N', UPLO = 'U' (LAPACK working note 199), written row-major. For an
n × n matrix A with p = n // 2 and q = n - p the rectangle R is (2p + 1, q):

    R[i, j] = A[i, p + j]      for i <= p + j      (columns p … n - 1 of the upper triangle)
    R[p + 1 + i, j] = A[j, i]  for j <= i < p      (the leading p × p triangle, transposed)
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from covpool.store.moments import FloatArray


def packed_shape(width: int) -> tuple[int, int]:
    """Shape of the rectangle of a width × width matrix: width (width + 1) / 2 numbers."""
    half = width // 2
    return 2 * half + 1, width - half


def pack(matrix: FloatArray) -> FloatArray:
    """RFP rectangle of a symmetric (d, d) matrix; only the upper triangle is read."""
    width = matrix.shape[0]
    half = width // 2
    rest = width - half
    packed = np.empty(packed_shape(width), matrix.dtype)
    packed[:half] = matrix[:half, half:]
    packed[half : half + rest] = matrix[half:, half:]
    # Below the diagonal of that square lies the transposed leading triangle, one row further down.
    leading = packed[half + 1 :, :half]
    np.copyto(leading, matrix[:half, :half].T, where=_lower(half))
    return packed


def unpack(packed: FloatArray, width: int) -> FloatArray:
    """The full symmetric (width, width) matrix of an RFP rectangle, bit for bit what was packed."""
    half = width // 2
    rest = width - half
    if packed.shape != packed_shape(width):
        raise ValueError(f"packed shape {packed.shape} is not that of width {width}: {packed_shape(width)}")
    matrix = np.empty((width, width), packed.dtype)
    matrix[:half, half:] = packed[:half]
    matrix[half:, :half] = packed[:half].T
    trailing, square = matrix[half:, half:], packed[half : half + rest]
    trailing[:] = square
    np.copyto(trailing, square.T, where=_lower(rest))
    leading, triangle = matrix[:half, :half], packed[half + 1 :, :half]
    leading[:] = triangle
    np.copyto(leading, triangle.T, where=_lower(half).T)
    return matrix


@lru_cache(maxsize=8)
def _lower(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)
