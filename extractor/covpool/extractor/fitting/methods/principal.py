"""Principal axes of a tall table that is read in blocks: exact where one side is small, else by iteration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.fitting.summary import signed
from covpool.store.threads import one_thread

Matrix = NDArray[np.float64]

#: Up to this many rows or columns the Gram matrix of that side is decomposed whole.
EXACT_SIDE = 4096
#: Columns of the iteration beyond k (Halko, Martinsson and Tropp 2011, section 4).
OVERSAMPLING = 16
MAX_ITERATIONS = 20
#: The iteration ends when no leading variance moves by more than this, relative to the largest.
TOLERANCE = 1e-8
BLOCK_MEGABYTES = 64


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Principal components of z-scored columns.

    Attributes:
        centre: (p,) column means.
        spread: (p,) standard deviations (by n), 1 for a column that does not vary.
        axes: (p, k) orthonormal, signed so that the largest entry is positive.
        variances: (k,) of the scores, falling.
        total: variance of all z-scored columns together.
    """

    centre: Matrix
    spread: Matrix
    axes: Matrix
    variances: Matrix
    total: float


def principal_axes(
    table: NDArray[np.float32], k: int, *, seed: int = 0, exact_side: int = EXACT_SIDE
) -> PrincipalAxes:
    """The first k principal axes of the z-scored columns of an (n, p) table, which may lie on disk.

    Float64 sums over blocks of rows; apart from a block it holds p x k numbers, or the square of the shorter
    side when that is at most `exact_side`. Larger tables take randomised subspace iteration (Halko,
    Martinsson and Tropp 2011, algorithm 4.4), seeded.

    Raises:
        ValueError: k is not from 1 to the shorter side.
    """
    n, p = table.shape
    if not 1 <= k <= min(n, p):
        raise ValueError(f"cannot take {k} principal axes of a table of {n} rows and {p} columns")
    blocks = _Blocks(table)
    with one_thread(min(n, p)):
        axes, variances = _axes(blocks, k, seed, exact_side)
    varying = float((blocks.deviation > 0).sum())
    return PrincipalAxes(blocks.centre, blocks.spread, signed(axes), np.maximum(variances, 0) / n, varying)


def _axes(blocks: "_Blocks", k: int, seed: int, exact_side: int) -> tuple[Matrix, Matrix]:
    """(p, k) axes and (k,) eigenvalues of ZᵀZ, by whichever way is exact for the table's shape."""
    n, p = blocks.table.shape
    if p <= exact_side and p <= n:
        values, vectors = np.linalg.eigh(blocks.column_gram())
        return vectors[:, ::-1][:, :k], values[::-1][:k]
    if n <= exact_side:
        values, vectors = np.linalg.eigh(blocks.row_gram())
        variances = values[::-1][:k]
        axes = blocks.transposed_times(vectors[:, ::-1][:, :k])
        # An axis without variance is noise of rounding; it is left out.
        axes *= np.where(variances > 1e-12 * variances[0], np.abs(variances) ** -0.5, 0.0)
        return axes, variances
    return _iterate(blocks, k, seed)


class _Blocks:
    """Z-scored blocks of rows of a table, and products with it."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table
        n, p = table.shape
        step = max(1, BLOCK_MEGABYTES * 2**20 // (8 * p))
        self.slices = [slice(start, min(start + step, n)) for start in range(0, n, step)]
        self.centre: Matrix = sum(self._raw(at).sum(0) for at in self.slices) / n
        squares = sum(((self._raw(at) - self.centre) ** 2).sum(0) for at in self.slices)
        self.deviation: Matrix = np.sqrt(squares / n)
        # A column of one repeated float32 number deviates by rounding of the mean at most.
        self.deviation[self.deviation <= 1e-7 * np.abs(self.centre)] = 0
        self.spread: Matrix = np.where(self.deviation > 0, self.deviation, 1.0)

    def _raw(self, at: slice) -> Matrix:
        return self.table[at].astype(np.float64)

    def scored(self, at: slice) -> Matrix:
        """Z-scored rows."""
        return (self._raw(at) - self.centre) / self.spread

    def column_gram(self) -> Matrix:
        """(p, p) ZᵀZ."""
        total = np.zeros((self.table.shape[1],) * 2)
        for at in self.slices:
            z = self.scored(at)
            total += z.T @ z
        return total

    def row_gram(self) -> Matrix:
        """(n, n) ZZᵀ."""
        gram = np.empty((len(self.table),) * 2)
        for at in self.slices:
            z = self.scored(at)
            for other in self.slices:
                if other.start <= at.start:
                    gram[at, other] = z @ self.scored(other).T
                    gram[other, at] = gram[at, other].T
        return gram

    def transposed_times(self, rows: Matrix) -> Matrix:
        """(p, k) Zᵀ rows."""
        total = np.zeros((self.table.shape[1], rows.shape[1]))
        for at in self.slices:
            total += self.scored(at).T @ rows[at]
        return total

    def gram_times(self, columns: Matrix) -> Matrix:
        """(p, k) ZᵀZ columns, in one pass."""
        total = np.zeros_like(columns)
        for at in self.slices:
            z = self.scored(at)
            total += z.T @ (z @ columns)
        return total


def _iterate(blocks: _Blocks, k: int, seed: int) -> tuple[Matrix, Matrix]:
    n, p = blocks.table.shape
    start = np.random.default_rng(seed).normal(size=(p, min(k + OVERSAMPLING, n, p)))
    columns = np.linalg.qr(blocks.gram_times(start))[0]
    before = np.zeros(k)
    for _ in range(MAX_ITERATIONS):
        product = blocks.gram_times(columns)
        # Ritz values and vectors of ZᵀZ in the span of the columns.
        with one_thread(columns.shape[1]):
            values, rotation = np.linalg.eigh(columns.T @ product)
        variances = values[::-1][:k]
        axes = columns @ rotation[:, ::-1][:, :k]
        if np.abs(variances - before).max() <= TOLERANCE * variances[0]:
            break
        before = variances
        columns = np.linalg.qr(product)[0]
    return axes, variances
