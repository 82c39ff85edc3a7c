"""Half-vectorisation: a symmetric matrix as the vector of its upper triangle, off-diagonal entries times √2.

With the factor √2 the dot product of two vectors is the Frobenius product <A, B> of their matrices (vech in
the isometric form of Magnus and Neudecker, "The elimination matrix", 1980), so distances are kept.
Order: row-major over the upper triangle, (0, 0), (0, 1), …, (0, d - 1), (1, 1), …
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def half_length(width: int) -> int:
    """Entries of the half-vector of a (width, width) matrix."""
    return width * (width + 1) // 2


def half_vector(matrices: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., d (d + 1) / 2) float64 half-vectors of symmetric (..., d, d) matrices (the upper triangle)."""
    width = matrices.shape[-1]
    flat, factors = _upper(width)
    vector: NDArray[np.float64] = matrices.reshape(*matrices.shape[:-2], -1)[..., flat] * factors
    return vector


def pairs(width: int) -> list[tuple[int, int]]:
    """(row, column) of every entry of the half-vector, in its order."""
    return [(i, j) for i in range(width) for j in range(i, width)]


@lru_cache(maxsize=2)
def _upper(width: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    rows, columns = np.triu_indices(width)
    return rows * width + columns, np.where(rows == columns, 1.0, np.sqrt(2.0))
