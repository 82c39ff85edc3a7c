"""What the closed-form fits share: a tied bottleneck from orthonormal columns and a feature scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.source import MomentsSource, width_of
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.values.keys import Recipe


def tied_bottleneck(
    columns: NDArray[np.float64],
    scale: NDArray[np.float64],
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
