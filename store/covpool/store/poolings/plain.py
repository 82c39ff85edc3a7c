"""The plain poolings of covpool: mean, spread, and the second moment or a function of it as a half-vector."""

import numpy as np

from covpool.store.poolings.kinds import PlainPooling, Vector
from covpool.store.poolings.matrices import half_vector, matrix_log, matrix_root, newton_schulz_root
from covpool.store.values.moments import Moments


def _mean(moments: Moments) -> Vector:
    return moments.mean.astype(np.float64)


def _std(moments: Moments) -> Vector:
    mean = moments.mean.astype(np.float64)
    # Rounding can leave the variance of a constant feature just below 0.
    return np.sqrt(np.maximum(np.diagonal(moments.second_moment).astype(np.float64) - mean**2, 0))


def _second_moment(moments: Moments) -> Vector:
    return half_vector(moments.second_moment)


def _covariance(moments: Moments) -> Vector:
    return half_vector(moments.astype(np.float64).covariance())


def _root(moments: Moments) -> Vector:
    return half_vector(matrix_root(moments.second_moment))


def _newton_schulz(moments: Moments) -> Vector:
    return half_vector(newton_schulz_root(moments.second_moment))


def _log(moments: Moments) -> Vector:
    return half_vector(matrix_log(moments.second_moment))


MEAN = PlainPooling("mean", "mean of every feature", False, _mean)
STD = PlainPooling("std", "standard deviation of every feature (by T, not T - 1)", False, _std)
SECOND_MOMENT = PlainPooling("second_moment", "C = XᵀX / T, uncentred", True, _second_moment)
COVARIANCE = PlainPooling("covariance", "C - X̄ X̄ᵀ, centred", True, _covariance)
ROOT = PlainPooling("root", "C^½ by eigendecomposition", True, _root)
NEWTON_SCHULZ = PlainPooling("newton_schulz", "C^½ by five Newton-Schulz iterations", True, _newton_schulz)
LOG = PlainPooling("log", "log C, log-Euclidean", True, _log)
