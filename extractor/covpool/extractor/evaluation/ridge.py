"""Ridge probe: many targets at once, through the smaller of the feature and the gene-by-gene matrix.

Blocks of features are centred on the training genes, optionally z-scored per entry, and scaled to a mean
squared norm of 1 per gene, times the weight of the block. So a penalty means the same for every
representation. In float32 a score differs by less than 1e-3 from float64 (tested).
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from covpool.extractor.evaluation.inputs.targets import Matrix
from covpool.extractor.extraction.threads import one_torch_thread

Index = npt.NDArray[np.int64]

#: log10 of the penalties tried first; the grid grows while its best lies at an edge, up to the limits. Beyond
#: the limits the probe does not change: it interpolates, or it is the difference of class means.
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


def design(blocks: Ordered[Features], training: Index) -> list[Matrix]:
    """(genes, columns) of each block, centred and scaled by the mean and spread of the training genes."""
    parts = []
    for features in blocks:
        training_values = features.values[training]
        centre = training_values.mean(0, dtype=np.float64)
        spread = np.sqrt(((training_values - centre.astype(np.float32)) ** 2).mean(0, dtype=np.float64))
        # A column that varies only by rounding is constant.
        varies = spread > 1e-6 * np.maximum(np.abs(centre), spread.max(initial=0.0) * 1e-3)
        scale = 1 / spread[varies] if features.standardise else np.ones(varies.sum())
        norm = np.sqrt(((spread[varies] * scale) ** 2).sum())
        factor = scale / norm if norm > 0 else scale
        kept = features.values if varies.all() else features.values[:, varies]
        parts.append((kept - centre[varies].astype(np.float32)) * factor.astype(np.float32))
    return parts


class Ridge:
    """Ridge regression of targets on blocks, for many choices of weights and penalty.

    Targets with the same missing genes are fitted together, on the other genes.

    Args:
        parts: (genes, columns) of each block, see `design`.
        y: (genes, targets); NaN if a gene has no value.
        fit, held: genes to fit on and to predict.
        dtype: of the linear algebra.
    """

    def __init__(
        self, parts: Ordered[Matrix], y: Matrix, fit: Index, held: Index, dtype: torch.dtype = torch.float32
    ) -> None:
        self._shape = y.shape[1], len(held)
        observed = np.isfinite(y[fit])
        if observed.all():
            self._groups: list[tuple[Index | slice, _Complete]] = [
                (slice(None), _Complete(parts, y, fit, held, dtype))
            ]
            return
        patterns, pattern = np.unique(observed, axis=1, return_inverse=True)
        self._groups = [
            (columns, _Complete(parts, y[:, columns], fit[rows], held, dtype))
            for number, rows in enumerate(patterns.T)
            if rows.any() and len(columns := np.flatnonzero(pattern == number))
        ]

    def scores(self, weights: Ordered[float], penalty: float) -> Matrix:
        """(targets, held genes) float32 predictions with these weights of the blocks.

        NaN for a target without values in the genes to fit on.
        """
        predictions: Matrix = np.full(self._shape, np.nan, dtype=np.float32)
        for columns, group in self._groups:
            predictions[columns] = group.scores(weights, penalty)
        return predictions


class _Complete:
    """Ridge regression of targets without missing values in the genes to fit on.

    The parts without weights and penalty are computed once: the Gram matrix of all columns, or that of the
    genes for each block if there are more columns than genes. Both give the same scores.
    """

    def __init__(
        self, parts: Ordered[Matrix], y: Matrix, fit: Index, held: Index, dtype: torch.dtype
    ) -> None:
        fitted = [torch.from_numpy(part[fit]).to(dtype) for part in parts]
        new = [torch.from_numpy(part[held]).to(dtype) for part in parts]
        self._sizes = torch.tensor([part.shape[1] for part in parts])
        self._by_gene = int(self._sizes.sum()) > len(fit)
        self._intercept = torch.from_numpy(y[fit].mean(0)).to(dtype)
        centred = torch.from_numpy(y[fit]).to(dtype) - self._intercept
        if self._by_gene:
            self._grams = torch.stack([x @ x.T for x in fitted])
            self._held = torch.stack([h @ x.T for h, x in zip(new, fitted, strict=True)])
            self._right = centred
        else:
            x = torch.cat(fitted, dim=1)
            self._grams = x.T @ x
            self._held = torch.cat(new, dim=1)
            self._right = x.T @ centred

    def scores(self, weights: Ordered[float], penalty: float) -> Matrix:
        w = torch.tensor(weights, dtype=self._grams.dtype)
        if self._by_gene:
            gram = torch.tensordot(w**2, self._grams, dims=1)
            held = torch.tensordot(w**2, self._held, dims=1)
            right = self._right
        else:
            columns = w.repeat_interleave(self._sizes)
            gram = self._grams * columns[:, None] * columns
            held = self._held * columns
            right = self._right * columns[:, None]
        scores: Matrix = (_solve(gram, right, penalty).T @ held.T + self._intercept[:, None]).float().numpy()
        return scores


def _solve(gram: torch.Tensor, right: torch.Tensor, penalty: float) -> torch.Tensor:
    """(gram + penalty)⁻¹ right."""
    with one_torch_thread(len(gram)):
        for dtype in (gram.dtype, torch.float64):
            penalised = gram.to(dtype, copy=True)
            penalised.diagonal().add_(penalty)
            factor, failed = torch.linalg.cholesky_ex(penalised)
            if not failed:
                solution: torch.Tensor = torch.cholesky_solve(right.to(dtype), factor)
                return solution.to(gram.dtype)
        # Singular even in float64: the least-squares solution of smallest norm.
        least: torch.Tensor = torch.linalg.lstsq(penalised, right.double(), driver="gelsd").solution
        return least.to(gram.dtype)


def best_on_grid(
    score: Callable[[float], float], first: Ordered[float], limits: tuple[float, float], step: float
) -> tuple[float, float]:
    """(argument, score) of the best point of a grid that grows by `step` until the best is not at an edge."""
    scores = {point: score(point) for point in first}
    while True:
        best = max(scores, key=lambda point: (scores[point], -abs(point)))
        beyond = best - step if best == min(scores) else best + step
        if best not in (min(scores), max(scores)) or not limits[0] <= beyond <= limits[1]:
            return best, scores[best]
        scores[beyond] = score(beyond)


def best_penalty(score: Callable[[float], float]) -> tuple[float, float]:
    """(log10 penalty, score): whole decades first, then half a decade on each side of the best."""
    best, top = best_on_grid(score, FIRST_PENALTIES, PENALTY_LIMITS, 1.0)
    for near in (best - REFINEMENT, best + REFINEMENT):
        reached = score(near)
        if reached > top:
            best, top = near, reached
    return best, top
