"""Features of a sequence: the spectrum and effective rank of its second moment, and its strongest pairs.

The effective rank is the number of directions of the activations; a pair is two features that are active in
the same tokens.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covpool.store.threads import one_thread
from covpool.store.values.moments import Moments


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a second moment, or of a covariance.

    Attributes:
        values: (d,) float64, descending; rounding below 0 is set to 0.
    """

    values: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(d,) eigenvalues as shares of their sum; zeros for a zero matrix."""
        total = self.values.sum()
        return self.values / total if total > 0 else np.zeros_like(self.values)

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the shares (Roy and Vetterli 2007): 1 to d; 0 for a zero matrix."""
        shares = self.shares[self.shares > 0]
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0

    @property
    def participation_ratio(self) -> float:
        """(Σλ)² / Σλ², never above the effective rank; 0 for a zero matrix."""
        squares = float((self.shares**2).sum())
        return 1 / squares if squares > 0 else 0.0

    def directions(self, share: float) -> int:
        """The smallest number of directions with this share of the sum, such as 0.9."""
        return int(np.searchsorted(self.shares.cumsum(), share - 1e-12) + 1)


def spectrum(moments: Moments, *, centred: bool = False) -> Spectrum:
    """Spectrum of C, or of the covariance: the first direction of C is mostly the mean."""
    wide = moments.astype(np.float64)
    matrix = wide.covariance() if centred else wide.second_moment
    with one_thread(moments.width):
        values = np.linalg.eigvalsh(matrix)
    return Spectrum(np.maximum(values[::-1], 0).astype(np.float64))


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
