"""Second moments of few tokens as a factor: C ≈ F Fᵀ with F (d, r), rounded to N bits per number.

T tokens give a matrix of rank T at most, so for T < d / 2 the factor can be smaller than half the matrix. It
is computed by block pivoted Cholesky: each step takes the features with the largest residuals. The decoded
matrix is positive semi-definite by construction, up to float rounding. Payload: one float64 scale per
feature, then the integers, row by row.
"""

import math

import numpy as np
from numpy.typing import NDArray

from covpool.store.codecs.cold import dtype_for, largest, stream, unstream
from covpool.store.threads import one_thread
from covpool.store.values.moments import FloatArray
from covpool.store.values.packing import pack, unpack

MAX_BITS = 30
#: Features per step, so that most work is in matrix products.
_BLOCK = 64
#: Directions with an eigenvalue below this many ulps of the largest diagonal entry are rounding.
_NOISE_ULPS = 64


def factorise(packed: FloatArray, width: int, tolerance: float, limit: int) -> NDArray[np.float64] | None:
    """(d, r) factor whose residual has a trace of at most `tolerance`; None if that takes r > limit."""
    matrix = unpack(packed, width)
    residual = np.diagonal(matrix).astype(np.float64)
    if not (residual >= 0).all():
        return None
    noise = _NOISE_ULPS * float(np.finfo(packed.dtype).eps) * float(residual.max())
    factor = np.empty((width, 0))
    while residual.sum() > tolerance:
        pivots = np.argsort(residual)[-min(_BLOCK, width) :]
        columns = matrix[:, pivots].astype(np.float64) - factor @ factor[pivots].T
        with one_thread():
            values, vectors = np.linalg.eigh(columns[pivots])
        kept = values > noise
        if not kept.any() or factor.shape[1] + kept.sum() > limit:
            return None
        added = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
        residual = np.maximum(residual - np.square(added).sum(1), 0)
        residual[pivots] = 0
        factor = np.hstack([factor, added])
    return factor


def bits_for(factor: NDArray[np.float64], norm: float, bound: float) -> int:
    """N for which the expected relative Frobenius error of rounding the factor is `bound`.

    Rounding errors E are uniform in a step of scale / (2^(N-1) - 1) for each feature, so F Eᵀ + E Fᵀ has an
    expected squared norm of 2 ‖F‖² Σ scale² / (12 (2^(N-1) - 1)²).
    """
    scales = np.abs(factor).max(1, initial=0.0)
    steps = math.sqrt(2 * np.square(factor).sum() * np.square(scales).sum() / 12) / (norm * bound)
    return max(2, math.ceil(math.log2(steps + 1) + 1))


def encode(factor: NDArray[np.float64], bits: int) -> bytes:
    """The payload."""
    top = largest(bits)
    scales = np.abs(factor).max(1, initial=0.0)
    ratio = np.divide(factor, scales[:, None], out=np.zeros_like(factor), where=scales[:, None] > 0)
    encoded: bytes = scales.tobytes() + stream(np.rint(ratio * top).astype(dtype_for(bits)))
    return encoded


def decode(payload: bytes, width: int, rank: int, bits: int, dtype: np.dtype[np.floating]) -> FloatArray:
    """The packed matrix F Fᵀ."""
    scales = np.frombuffer(payload, np.float64, width)
    numbers = unstream(payload[scales.nbytes :], (width, rank), dtype_for(bits))
    factor = numbers * (scales[:, None] / largest(bits))
    matrix: FloatArray = (factor @ factor.T).astype(dtype)
    return pack(matrix)
