"""Transposed access to large matrices, tile by tile.

Reading a column of a wide matrix misses the cache at every step, and rows at a distance of a power of two
evict each other. Tiles are copied row by row into a buffer with another row length, and transposed from it.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Side of a tile in numbers, and the extra length of the buffer's rows.
TILE, _PADDING = 256, 8


def transpose_into(target: NDArray[Any], source: NDArray[Any]) -> None:
    """target[:] = source.T."""
    for i in range(0, source.shape[0], TILE):
        for j in range(0, source.shape[1], TILE):
            target[j : j + TILE, i : i + TILE] = _buffered(source[i : i + TILE, j : j + TILE])


def copy_lower(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Lower triangle of `target` (diagonal included) from the upper triangle of `source`, transposed."""
    for i, j in _tiles(len(source)):
        tile = target[j : j + TILE, i : i + TILE]
        np.copyto(
            tile, _buffered(source[i : i + TILE, j : j + TILE]), where=_lower(len(tile)) if i == j else True
        )


def mirror(matrix: NDArray[Any], *, upper: bool) -> None:
    """Make a square matrix symmetric, from its upper triangle or from its lower one."""
    for i, j in _tiles(len(matrix)):
        above, below = matrix[i : i + TILE, j : j + TILE], matrix[j : j + TILE, i : i + TILE]
        source, target = (above, below) if upper else (below, above)
        if i == j:
            lower = _lower(len(above))
            np.copyto(target, _buffered(source), where=lower if upper else lower.T)
        else:
            target[:] = _buffered(source)


def asymmetry(matrix: NDArray[Any]) -> float:
    """Largest |A - Aᵀ|, 0.0 for an empty matrix; NaN or infinity if the matrix has any on one side."""
    largest = 0.0
    for i, j in _tiles(len(matrix)):
        below = matrix[j : j + TILE, i : i + TILE]
        above = _buffered(matrix[i : i + TILE, j : j + TILE])
        # Nearly always equal, and this check takes a third of the time of a difference.
        if not np.array_equal(above, below):
            largest = float(np.maximum(largest, np.abs(above - below).max()))
    return largest


def _tiles(size: int) -> Iterator[tuple[int, int]]:
    """First row and column of every tile on or above the diagonal."""
    return ((i, j) for i in range(0, size, TILE) for j in range(i, size, TILE))


def _buffered(tile: NDArray[Any]) -> NDArray[Any]:
    """The tile transposed, read from a padded copy."""
    buffer = np.empty((tile.shape[0], TILE + _PADDING), tile.dtype)[:, : tile.shape[1]]
    buffer[:] = tile
    return buffer.T


@lru_cache(maxsize=8)
def _lower(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)
