"""Rectangular full packed (RFP) form: a symmetric matrix as one rectangle of exactly half its size.

Convention: LAPACK's RFP with TRANSR = 'N', UPLO = 'U' (LAPACK working note 199), written row-major. For an
n × n matrix A with p = n // 2 and q = n - p the rectangle R is (2p + 1, q):

    R[i, j] = A[i, p + j]      for i <= p + j      (columns p … n - 1 of the upper triangle)
    R[p + 1 + i, j] = A[j, i]  for j <= i < p      (the leading p × p triangle, transposed)
"""

import numpy as np
from numpy.typing import NDArray

from covpool.store.values.moments import FloatArray
from covpool.store.values.tiles import copy_lower, mirror, transpose_into

#: Rows per sum: their float64 copies stay in the cache.
_ROWS = 64


def packed_shape(width: int) -> tuple[int, int]:
    """Shape of the rectangle of a width × width matrix: width (width + 1) / 2 numbers."""
    half = width // 2
    return 2 * half + 1, width - half


def packed_width(shape: tuple[int, ...]) -> int:
    """The width whose rectangle has this shape; ValueError if there is none."""
    width = shape[0] // 2 + shape[1] if len(shape) == 2 else 0
    if width < 1 or packed_shape(width) != tuple(shape):
        raise ValueError(f"{shape} is not the shape of a packed matrix; give (2p + 1, p) or (2p + 1, p + 1)")
    return width


def pack(matrix: FloatArray) -> FloatArray:
    """RFP rectangle of a symmetric (d, d) matrix; only the upper triangle is read."""
    width = matrix.shape[0]
    half = width // 2
    rest = width - half
    packed = np.empty(packed_shape(width), matrix.dtype)
    packed[:half] = matrix[:half, half:]
    packed[half : half + rest] = matrix[half:, half:]
    # The transposed leading triangle is below the diagonal of that square, one row further down.
    copy_lower(packed[half + 1 :, :half], matrix[:half, :half])
    return packed


def unpack(packed: FloatArray, width: int) -> FloatArray:
    """The full symmetric (width, width) matrix of an RFP rectangle, bit for bit what was packed."""
    half = width // 2
    rest = width - half
    if packed.shape != packed_shape(width):
        raise ValueError(f"packed shape {packed.shape} is not that of width {width}: {packed_shape(width)}")
    matrix = np.empty((width, width), packed.dtype)
    matrix[:half, half:] = packed[:half]
    transpose_into(matrix[half:, :half], packed[:half])
    matrix[half:, half:] = packed[half : half + rest]
    mirror(matrix[half:, half:], upper=True)
    matrix[:half, :half] = packed[half + 1 :, :half]
    mirror(matrix[:half, :half], upper=False)
    return matrix


def diagonal_index(width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of A[0, 0] … A[n - 1, n - 1] in the rectangle."""
    i, half = np.arange(width), width // 2
    return np.where(i < half, half + 1 + i, i), np.where(i < half, i, i - half)


def packed_norm(packed: FloatArray, minus: FloatArray | None = None) -> float:
    """Frobenius norm, in float64, of the full matrix of a rectangle or of a difference of two."""
    scale = float(max(packed.max(), -packed.min()))
    if not scale:
        scale = 1.0
    total = 0.0
    for start in range(0, len(packed), _ROWS):
        rows = slice(start, start + _ROWS)
        block = packed[rows].astype(np.float64)
        if minus is not None:
            block -= minus[rows]
        block /= scale
        total += 2 * float(np.vdot(block, block))
    where = diagonal_index(packed_width(packed.shape))
    diagonal = packed[where].astype(np.float64)
    if minus is not None:
        diagonal -= minus[where]
    diagonal /= scale
    return scale * float(np.sqrt(max(total - float(diagonal @ diagonal), 0.0)))
