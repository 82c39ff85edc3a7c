"""Reconstruction losses of a bottleneck over moments: statistics of a fit, never of its quality.

Through the trace identity no d x d residual is formed: with M = Lᵀ C R,
‖L M Rᵀ - C‖² = <(LᵀL) M (RᵀR), M> - 2 ‖M‖² + ‖C‖².
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.fitting.source import MomentsSource, batches, sweep
from covpool.store.values.moments import Moments

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """Sums over moments.

    Attributes:
        squared: Σ ‖L M Rᵀ - C‖².
        unsquared: Σ ‖L M Rᵀ - C‖, the paper's loss.
        total: Σ ‖C‖².
    """

    squared: float = 0.0
    unsquared: float = 0.0
    total: float = 0.0

    def __add__(self, other: "Losses") -> "Losses":
        return Losses(
            self.squared + other.squared, self.unsquared + other.unsquared, self.total + other.total
        )

    @classmethod
    def of(cls, residuals: Matrix, norms: Matrix) -> "Losses":
        """From squared residuals and squared norms, one of each per moment."""
        return cls(float(residuals.sum()), float(np.sqrt(residuals).sum()), float(norms.sum()))


def reconstruction_losses(
    source: MomentsSource, left: Matrix, right: Matrix, scale: Matrix, executor: Executor | None = None
) -> Losses:
    """Losses of L, R (d, k) on D C D, scale (d,) being the diagonal of D; float64, one pass."""
    work = partial(_part, left=left, right=right, scale=scale)
    return sum(sweep(source, work, executor), Losses())


def _part(moments: Iterator[Moments], *, left: Matrix, right: Matrix, scale: Matrix) -> Losses:
    of_left, of_right = left.T @ left, right.T @ right
    losses = Losses()
    for c in batches(moments, len(scale)):
        c *= scale[:, None] * scale
        m = left.T @ (c @ right)
        norms = np.einsum("bij,bij->b", c, c)
        residuals = np.einsum("bij,bij->b", of_left @ m @ of_right - 2 * m, m) + norms
        losses += Losses.of(np.maximum(residuals, 0), norms)
    return losses
