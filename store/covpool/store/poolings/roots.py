"""Matrix square root and logarithm of symmetric positive semi-definite matrices, in float64.

A short sequence has a rank-deficient second moment: eigenvalues are floored at a fraction of their mean.
"""

import numpy as np
from numpy.typing import NDArray

from covpool.store.threads import one_thread

#: Eigenvalue floors as fractions of the mean eigenvalue; the logarithm needs the higher one.
ROOT_FLOOR = 1e-4
LOG_FLOOR = 1e-3

#: Iterations after which the coupled Newton-Schulz iteration is stopped (Li et al. 2018 train with 5).
NEWTON_SCHULZ_ITERATIONS = 5


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
