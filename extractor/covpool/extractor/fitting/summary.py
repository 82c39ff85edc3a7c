"""One pass over the moments: their mean, and the scale of each feature."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.fitting.source import MomentsSource, sweep, width_of
from covpool.store.threads import one_thread
from covpool.store.values.moments import Moments

Matrix = NDArray[np.float64]

#: "rms" divides every feature by its root mean square over training tokens; "none" leaves it.
Scaling = Literal["rms", "none"]


@dataclass(frozen=True, eq=False)
class Summary:
    """What one pass tells of the training moments.

    Attributes:
        sequences: how many.
        tokens: their counts, added.
        mean_moment: (d, d) mean second moment; every sequence weighs the same.
        rms: (d,) root mean square of each feature over all tokens.
    """

    sequences: int
    tokens: int
    mean_moment: Matrix
    rms: Matrix

    def scale(self, scaling: Scaling) -> Matrix:
        """(d,) diagonal of D; 1 for a feature that is always 0."""
        if scaling == "none":
            return np.ones_like(self.rms)
        return np.divide(1.0, self.rms, out=np.ones_like(self.rms), where=self.rms > 0)

    def eigenvectors(self, k: int, scale: Matrix) -> tuple[Matrix, Matrix]:
        """Top-k eigenvectors (d, k) of D C̄ D, and all its eigenvalues (d,), both by falling eigenvalue.

        Signed so that the largest entry of each column is positive.
        """
        return leading(scale[:, None] * self.mean_moment * scale, k)


def summarise(source: MomentsSource, executor: Executor | None = None) -> Summary:
    """One pass; holds one (d, d) sum in float64.

    Raises:
        FitError: the source is empty.
    """
    width = width_of(source)
    total, squares, tokens = np.zeros((width, width)), np.zeros(width), 0
    for part, part_squares, count in sweep(source, partial(_sums, width=width), executor):
        total += part
        squares += part_squares
        tokens += count
    return Summary(len(source), tokens, total / len(source), np.sqrt(np.maximum(squares / tokens, 0)))


def leading(matrix: Matrix, k: int) -> tuple[Matrix, Matrix]:
    """Top-k eigenvectors of a symmetric matrix and all its eigenvalues; see `Summary.eigenvectors`."""
    with one_thread(len(matrix)):
        values, vectors = np.linalg.eigh(matrix)
    return signed(vectors[:, ::-1][:, :k]), values[::-1]


def signed(columns: Matrix) -> Matrix:
    """Columns with the sign that makes the largest entry of each positive: the same on every machine."""
    largest = columns[np.abs(columns).argmax(0), np.arange(columns.shape[1])]
    return columns * np.where(largest < 0, -1.0, 1.0)


def _sums(moments: Iterator[Moments], *, width: int) -> tuple[Matrix, Matrix, int]:
    total, squares, tokens = np.zeros((width, width)), np.zeros(width), 0
    for matrix in moments:
        total += matrix.second_moment
        squares += matrix.count * np.diagonal(matrix.second_moment).astype(np.float64)
        tokens += matrix.count
    return total, squares, tokens
