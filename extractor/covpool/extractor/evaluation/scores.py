"""Scores of predictions within one fold: area under the ROC curve, Pearson's r, R².

Convention: matrices are (targets, genes); the score of a target that a fold cannot score is NaN. An
observation of NaN is missing; the gene is ignored for that target.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from covpool.extractor.evaluation.inputs.targets import Matrix

Vector = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]


def auroc(scores: Matrix, labels: Matrix) -> Vector:
    """(targets,) share of pairs of a positive and a negative gene in the right order; ties count half."""
    return auroc_and_influence(scores, labels)[0]


def auroc_and_influence(scores: Matrix, labels: Matrix) -> tuple[Vector, Table]:
    """(targets,) areas and (targets, genes) influence of each gene on them.

    The influence is that of DeLong, DeLong and Clarke-Pearson (1988): a positive's share of negatives below
    it minus the area, over the number of positives; likewise for negatives. Each row sums to 0.
    """
    positive = labels > 0
    p = positive.sum(1, dtype=np.float64)[:, None]
    n = labels.shape[1] - p
    # The rank among all genes minus that among genes with the same label: genes of the other label below.
    same = [rankdata(np.where(chosen, scores, np.inf), axis=1) for chosen in (positive, ~positive)]
    below = rankdata(scores, axis=1) - np.where(positive, *same)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(positive, below / n, 1 - below / p)
        area = (shares * positive).sum(1, keepdims=True) / p
        influence = (shares - area) / np.where(positive, p, n)
    unscored = ((p == 0) | (n == 0))[:, 0]
    area[unscored] = np.nan
    influence[unscored] = 0
    return area[:, 0], influence


def pearson(predicted: Table | Matrix, observed: Table | Matrix) -> Vector:
    """(targets,) correlation of predictions and observations; NaN if either is constant."""
    finite = np.isfinite(observed)
    x, y = (_centred(table.astype(np.float64), finite) for table in (predicted, observed))
    with np.errstate(divide="ignore", invalid="ignore"):
        r: Vector = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return r


def r_squared(predicted: Matrix, observed: Matrix) -> Vector:
    """(targets,) explained share of the fold's variance; below 0 if the mean of the fold predicts better."""
    finite = np.isfinite(observed)
    y = observed.astype(np.float64)
    residual = (np.where(finite, y - predicted, 0) ** 2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2: Vector = 1 - residual / (_centred(y, finite) ** 2).sum(1)
    return r2


def finite_mean(values: Table | Vector, axis: int | None = None) -> Vector:
    """Mean of the values that are not NaN; NaN if all are."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means: Vector = np.where(finite, values, 0).sum(axis) / finite.sum(axis)
    return means


def _centred(table: Table, finite: npt.NDArray[np.bool_]) -> Table:
    """Each row minus its mean over the finite genes; 0 at the others."""
    centred: Table = np.where(finite, table - finite_mean(np.where(finite, table, np.nan), 1)[:, None], 0)
    return centred
