"""Second moments as N-bit correlations: C_ij / √(C_ii C_jj) rounded, and the exact diagonal.

With scaling by the diagonal, one width of integers suits channels of any magnitude; the diagonal is restored
exactly. Payload: diagonal (d floats of the matrix's dtype), then the integers in packed order.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from covpool.store.codecs.cold import dtype_for, largest, stream, unstream
from covpool.store.values.moments import FloatArray
from covpool.store.values.packing import diagonal_index, packed_shape, packed_width

#: More bits than these would exceed the precision of the floats.
MAX_BITS = {4: 24, 8: 50}
#: Rows per block: a block of float64 scales stays in the cache.
_ROWS = 64


def bits_for(packed: FloatArray, norm: float, bound: float) -> int:
    """N for which the expected relative Frobenius error of rounding is `bound`.

    Rounding errors are uniform in a step of √(C_ii C_jj) / (2^(N-1) - 1), so their sum of squares over the
    matrix is (tr(C) / (2^(N-1) - 1))² / 12.
    """
    trace = float(packed[diagonal_index(packed_width(packed.shape))].sum(dtype=np.float64))
    steps = trace / (norm * bound * math.sqrt(12))
    return max(2, math.ceil(math.log2(max(steps, 1.0) + 1) + 1))


def encode(packed: FloatArray, bits: int) -> bytes | None:
    """The payload; None for a matrix with a negative number or NaN on its diagonal."""
    variances = packed[diagonal_index(packed_width(packed.shape))]
    if not (variances >= 0).all():
        return None
    top = largest(bits)
    numbers = np.empty(packed.shape, dtype_for(bits))
    for rows, scale in _scales(np.sqrt(variances.astype(np.float64))):
        # For a channel that is always 0 (scale 0) any correlation is valid; decoding gives 0.
        ratio = np.divide(packed[rows], scale, out=np.zeros_like(scale), where=scale > 0)
        numbers[rows] = np.clip(np.rint(ratio * top), -top, top)
    return variances.tobytes() + stream(numbers)


def decode(payload: bytes, width: int, bits: int, dtype: np.dtype[np.floating]) -> FloatArray:
    """The packed matrix."""
    variances = np.frombuffer(payload, dtype, width)
    numbers = unstream(payload[variances.nbytes :], packed_shape(width), dtype_for(bits))
    packed = np.empty(numbers.shape, dtype)
    for rows, scale in _scales(np.sqrt(variances.astype(np.float64))):
        packed[rows] = numbers[rows] * (scale / largest(bits))
    packed[diagonal_index(width)] = variances
    return packed


def _scales(roots: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Blocks of rows of the packed outer product of `roots` with itself."""
    rows, columns = packed_shape(len(roots))
    half = len(roots) // 2
    for start in range(0, rows, _ROWS):
        row = np.arange(start, min(start + _ROWS, rows))
        scale = roots[np.minimum(row, len(roots) - 1), None] * roots[half:]
        if row[-1] > half:
            lower = roots[np.maximum(row - half - 1, 0), None] * roots[:columns]
            np.copyto(scale, lower, where=row[:, None] > half + np.arange(columns))
        yield slice(start, start + len(row)), scale
