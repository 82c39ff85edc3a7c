"""Bottlenecks as the fits make them: from orthonormal columns, with their reconstruction losses over moments.

Losses are statistics of a fit, never of its quality. Through the trace identity no d x d residual is formed:
with M = Lᵀ C R, ‖L M Rᵀ - C‖² = <(LᵀL) M (RᵀR), M> - 2 ‖M‖² + ‖C‖².
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.source import MomentsSource, batches, sweep, width_of
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.values.keys import Recipe
from covpool.store.values.moments import Moments

Matrix = NDArray[np.float64]


def tied_bottleneck(
    columns: Matrix,
    scale: Matrix,
    name: str,
    recipe: Recipe,
    fit: Mapping[str, Any],
) -> Bottleneck:
    """L = R = D U in float32: M = Lᵀ C R is then Uᵀ (D C D) U, and D need not be known to apply it."""
    projection = np.ascontiguousarray(scale[:, None] * columns, dtype=np.float32)
    return Bottleneck(projection, projection, name=name, recipe=recipe, fit=fit)


def check_k(source: MomentsSource, k: int) -> None:
    """Refuse a k that no projection has.

    Raises:
        FitError: there are no moments, or k is not from 1 to their width.
    """
    width = width_of(source)
    if not 1 <= k <= width:
        raise FitError(f"cannot fit k={k} on moments of width {width}; choose 1 to {width}")


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
