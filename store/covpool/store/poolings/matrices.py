"""Matrix operations of poolings, in float64: half-vectors, projections, square roots and logarithms.

A half-vector is the upper triangle of a symmetric matrix, with off-diagonal entries times √2: then the dot
product of two is the Frobenius product <A, B> of their matrices (vech in the isometric form of Magnus and
Neudecker, "The elimination matrix", 1980), so distances are kept. Order: row-major, (0, 0), (0, 1), …,
(0, d - 1), (1, 1), …

Linearly transformed activations need no new pass: XA has mean AᵀX̄ and second moment AᵀCA.

A short sequence has a rank-deficient second moment: roots and logarithms floor the eigenvalues at a fraction
of their mean.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from covpool.store.threads import one_thread
from covpool.store.values.moments import FloatArray, Moments

#: Rows of C that are widened to float64 at once, so that C has no float64 copy. Against widening it whole it
#: took 0.7 to 0.8 of the time at d = 512, 0.6 to 0.7 at 1536 and 0.4 to 0.6 at 4096 (k = 16 and 32, one core
#: under load).
BLOCK_ROWS = 256

#: Eigenvalue floors as fractions of the mean eigenvalue; the logarithm needs the higher one.
ROOT_FLOOR = 1e-4
LOG_FLOOR = 1e-3

#: Iterations after which the coupled Newton-Schulz iteration is stopped (Li et al. 2018 train with 5).
NEWTON_SCHULZ_ITERATIONS = 5


def half_length(width: int) -> int:
    """Entries of the half-vector of a (width, width) matrix."""
    return width * (width + 1) // 2


def half_vector(matrices: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., d (d + 1) / 2) float64 half-vectors of symmetric (..., d, d) matrices (the upper triangle)."""
    width = matrices.shape[-1]
    flat, factors = _upper(width)
    vector: NDArray[np.float64] = matrices.reshape(*matrices.shape[:-2], -1)[..., flat] * factors
    return vector


@lru_cache(maxsize=2)
def _upper(width: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    rows, columns = np.triu_indices(width)
    return rows * width + columns, np.where(rows == columns, 1.0, np.sqrt(2.0))


def two_sided(left: NDArray[np.float64], c: FloatArray, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, l) Lᵀ C R in float64, for L (d, k), C (d, d) and R (d, l); not symmetrised."""
    product = np.zeros((left.shape[1], right.shape[1]))
    with one_thread(len(c)):
        for start in range(0, len(c), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            product += left[rows].T @ (c[rows].astype(np.float64) @ right)
    return product


def project(moments: Moments, projection: NDArray[np.floating]) -> Moments:
    """Moments of X @ projection, in float64.

    Args:
        moments: of activations X, width d.
        projection: (d, k) matrix A, or (d,) factors that scale each feature.

    Raises:
        ValueError: the projection is not for this width.
    """
    a = np.asarray(projection, np.float64)
    if a.shape[0] != moments.width or a.ndim > 2:
        raise ValueError(f"projection {a.shape}: the moments have width {moments.width}")
    mean = moments.mean.astype(np.float64)
    if a.ndim == 1:
        return Moments(moments.count, a * mean, a[:, None] * moments.second_moment * a)
    small = two_sided(a, moments.second_moment, a)
    # Rounding of the products may leave either triangle a little apart.
    return Moments(moments.count, mean @ a, (small + small.T) / 2)


def matrix_root(matrices: NDArray[np.floating], floor: float = ROOT_FLOOR) -> NDArray[np.float64]:
    """(..., d, d) principal square roots by eigendecomposition.

    Args:
        matrices: symmetric positive semi-definite; only the lower triangle is read.
        floor: eigenvalues below this fraction of their mean are raised to it.
    """
    with one_thread(matrices.shape[-1]):
        values, vectors = _floored(matrices, floor)
        return _rebuilt(np.sqrt(values), vectors)


def matrix_log(matrices: NDArray[np.floating], floor: float = LOG_FLOOR) -> NDArray[np.float64]:
    """(..., d, d) matrix logarithms, the log-Euclidean map of Arsigny et al. 2006; see `matrix_root`."""
    with one_thread(matrices.shape[-1]):
        values, vectors = _floored(matrices, floor)
        return _rebuilt(np.log(values), vectors)


def newton_schulz_root(
    matrices: NDArray[np.floating], iterations: int = NEWTON_SCHULZ_ITERATIONS
) -> NDArray[np.float64]:
    """(..., d, d) approximate square roots by the coupled Newton-Schulz iteration.

    Normalised by the trace before and scaled by its root after, as in Li, Xie, Wang and Gao, "Towards Faster
    Training of Global Covariance Pooling Networks by Iterative Matrix Square Root Normalization", 2018,
    eq. 3 to 6. It needs products only, and stops short on purpose: small eigenvalues are not yet converged
    after a few iterations, which damps them. Matrices of trace 0 have root 0.
    """
    c = np.asarray(matrices, np.float64)
    width = c.shape[-1]
    trace = np.trace(c, axis1=-2, axis2=-1)[..., None, None]
    y = np.divide(c, trace, out=np.zeros_like(c), where=trace > 0)
    eye = np.eye(width)
    z = np.broadcast_to(eye, c.shape)
    with one_thread(width):
        for _ in range(iterations):
            step = (3 * eye - z @ y) / 2
            y, z = y @ step, step @ z
    root: NDArray[np.float64] = np.sqrt(trace) * (y + y.swapaxes(-1, -2)) / 2
    return root


def _floored(matrices: NDArray[np.floating], floor: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(np.asarray(matrices, np.float64))
    least = floor * values.mean(-1, keepdims=True)
    # The smallest normal number keeps the logarithm of a zero matrix finite.
    return np.maximum(values, np.maximum(least, np.finfo(np.float64).tiny)), vectors


def _rebuilt(values: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)
    return matrix
