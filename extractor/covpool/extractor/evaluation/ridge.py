"""Ridge probe: many targets at once, through the smaller of the feature and the gene-by-gene matrix.

Blocks of features are centred on the training genes, z-scored per entry where that is wanted, and scaled to a
mean squared norm of 1 per gene, times the block's weight; so one penalty means the same for every
representation. Float32: a representation's score moves by less than 1e-3 against float64 (tested).
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from covpool.extractor.evaluation.targets import Matrix

Index = npt.NDArray[np.int64]

#: log10 of the penalties tried first; the grid grows while its best lies at an edge, up to the limits. Beyond
#: them nothing changes any more: the probe interpolates, or has become the difference of class means.
FIRST_PENALTIES = (-1.0, 0.0, 1.0, 2.0)
PENALTY_LIMITS = (-6.0, 8.0)
REFINEMENT = 0.5


@dataclass(frozen=True)
class Features:
    """A block of features of all genes.

    Attributes:
        values: (genes, p) float32.
        standardise: whether each column is z-scored; otherwise the block keeps its relative scales.
    """

    values: Matrix = field(repr=False)
    standardise: bool = True


def design(blocks: Ordered[tuple[Features, float]], training: Index) -> Matrix:
    """(genes, columns) of weighted blocks, centred and scaled by what the training genes show."""
    parts = []
    for features, weight in blocks:
        known = features.values[training].astype(np.float64)
        centre, spread = known.mean(0), known.std(0)
        # A column that rounding alone moves is constant.
        varies = spread > 1e-6 * np.maximum(np.abs(centre), spread.max(initial=0.0) * 1e-3)
        scale = 1 / spread[varies] if features.standardise else np.ones(varies.sum())
        norm = np.sqrt(((spread[varies] * scale) ** 2).sum())
        factor = weight * scale / norm if norm > 0 else scale
        parts.append(((features.values[:, varies] - centre[varies]) * factor).astype(np.float32))
    return np.concatenate(parts, axis=1)


class Ridge:
    """Ridge regression of targets on a design, for one penalty after another.

    Args:
        x: (training genes, columns), centred.
        y: (training genes, targets).
        dtype: of the linear algebra.
    """

    def __init__(self, x: Matrix, y: Matrix, dtype: torch.dtype = torch.float32) -> None:
        self._x = torch.from_numpy(np.ascontiguousarray(x)).to(dtype)
        # By gene when there are more features than genes, else by feature; both give the same scores.
        self._by_gene = x.shape[1] > x.shape[0]
        self.intercept = y.mean(0)
        centred = torch.from_numpy(y - self.intercept).to(dtype)
        self._gram = self._x @ self._x.T if self._by_gene else self._x.T @ self._x
        self._right = centred if self._by_gene else self._x.T @ centred

    def scores(self, held: Matrix, penalty: float) -> Matrix:
        """(targets, held genes) float32 predictions."""
        h = torch.from_numpy(np.ascontiguousarray(held)).to(self._x.dtype)
        solution = self._solve(penalty)
        predicted = solution.T @ (self._x @ h.T) if self._by_gene else solution.T @ h.T
        found: Matrix = predicted.float().numpy() + self.intercept[:, None]
        return found

    def _solve(self, penalty: float) -> torch.Tensor:
        for dtype in (self._gram.dtype, torch.float64):
            penalised = self._gram.to(dtype, copy=True)
            penalised.diagonal().add_(penalty)
            factor, failed = torch.linalg.cholesky_ex(penalised)
            if not failed:
                solution: torch.Tensor = torch.cholesky_solve(self._right.to(dtype), factor)
                return solution.to(self._gram.dtype)
        # Singular even in float64: the least-squares solution of smallest norm.
        least: torch.Tensor = torch.linalg.lstsq(penalised, self._right.double(), driver="gelsd").solution
        return least.to(self._gram.dtype)


def best_on_grid(
    score: Callable[[float], float], first: Ordered[float], limits: tuple[float, float], step: float
) -> tuple[float, float]:
    """(argument, score) of the best point of a grid that grows by `step` until its best is not at an edge."""
    found = {point: score(point) for point in first}
    while True:
        best = max(found, key=lambda point: (found[point], -abs(point)))
        beyond = best - step if best == min(found) else best + step
        if best not in (min(found), max(found)) or not limits[0] <= beyond <= limits[1]:
            return best, found[best]
        found[beyond] = score(beyond)


def best_penalty(
    score: Callable[[float], float], first: Ordered[float] = FIRST_PENALTIES
) -> tuple[float, float]:
    """(log10 penalty, score): whole decades first, then half a decade to either side of the best."""
    best, top = best_on_grid(score, first, PENALTY_LIMITS, 1.0)
    for near in (best - REFINEMENT, best + REFINEMENT):
        found = score(near)
        if found > top:
            best, top = near, found
    return best, top
