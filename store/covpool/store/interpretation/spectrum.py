"""Spectrum and effective rank of a second moment: the number of directions of a sequence's activations."""

from dataclasses import dataclass

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
