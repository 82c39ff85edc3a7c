"""The strongest feature pairs of a sequence: which features are active in the same tokens."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covpool.store.values.moments import Moments

Measure = Literal["correlation", "covariance", "second_moment", "cosine"]


@dataclass(frozen=True)
class FeaturePair:
    """Two features, the lower index first, and the strength of their association."""

    first: int
    second: int
    value: float


def strongest_pairs(moments: Moments, count: int = 20, *, by: Measure = "correlation") -> list[FeaturePair]:
    """The pairs of largest magnitude, strongest first.

    Args:
        moments: of a sequence.
        count: maximum number of pairs.
        by: "second_moment" C_ij, "cosine" C_ij / √(C_ii C_jj), "covariance", or "correlation". A feature that
            is always 0 has cosine 0 with all others; a feature that never varies has correlation 0.
    """
    matrix = association(moments, by)
    rows, columns = np.triu_indices(moments.width, 1)
    values = matrix[rows, columns]
    order = np.lexsort((columns, rows, -np.abs(values)))[:count]
    return [FeaturePair(int(rows[at]), int(columns[at]), float(values[at])) for at in order]


def association(moments: Moments, by: Measure) -> NDArray[np.float64]:
    """(d, d) float64 matrix of a measure, see `strongest_pairs`.

    Raises:
        ValueError: there is no such measure.
    """
    wide = moments.astype(np.float64)
    if by in ("second_moment", "cosine"):
        matrix = wide.second_moment.astype(np.float64)
    elif by in ("covariance", "correlation"):
        matrix = wide.covariance().astype(np.float64)
    else:
        raise ValueError(f"measure {by!r}: choose correlation, covariance, second_moment or cosine")
    if by in ("second_moment", "covariance"):
        return matrix
    # A variance within rounding of the mean square counts as 0.
    diagonal = np.diagonal(matrix)
    least = 1e-6 * np.diagonal(wide.second_moment).astype(np.float64)
    spread = np.sqrt(np.where(diagonal > least, diagonal, np.inf))
    return matrix / spread[:, None] / spread
