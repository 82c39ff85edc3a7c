"""Moments of linearly transformed activations, from cached moments alone: XA has mean AᵀX̄ and moment AᵀCA."""

import numpy as np
from numpy.typing import NDArray

from covpool.store.moments import Moments


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
    c, mean = moments.second_moment.astype(np.float64), moments.mean.astype(np.float64)
    if a.ndim == 1:
        return Moments(moments.count, a * mean, a[:, None] * c * a)
    small = a.T @ c @ a
    # Rounding of the products may leave either triangle a little apart.
    return Moments(moments.count, mean @ a, (small + small.T) / 2)
