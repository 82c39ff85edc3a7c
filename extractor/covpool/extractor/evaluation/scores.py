"""Scores of probes, and their bootstrap over targets and over genes, with the same draws for every method.

Genes are drawn within their fold. Pearson's r is computed again for every draw. The mean area under the ROC
curve changes by the sum of the influences of the drawn genes, which is its bootstrap to first order.
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


DRAWS = 1000
LEVEL = 0.95


def target_draws(scores: Table, seed: int = 0) -> Vector:
    """(DRAWS,) mean over folds of the mean over drawn targets; scores are (folds, targets), may be NaN."""
    targets = scores.shape[1]
    random = np.random.default_rng((seed, targets))
    counts = random.multinomial(targets, np.full(targets, 1 / targets), size=DRAWS).astype(np.float64)
    scored = np.isfinite(scores)
    sums = counts @ np.where(scored, scores, 0).T
    with np.errstate(invalid="ignore"):
        return finite_mean(sums / (counts @ scored.T), 1)


def area_gene_draws(influence: Vector, fold: int, seed: int = 0) -> Vector:
    """(DRAWS,) change of a fold's mean area when its genes are drawn with replacement.

    Args:
        influence: (genes,) influence of each gene on the mean area.
        fold: its number; the draws of a fold are the same for every representation.
    """
    return _counts(len(influence), fold, seed) @ influence


def pearson_gene_draws(predicted: Matrix, observed: Matrix, fold: int, seed: int = 0) -> Vector:
    """(DRAWS,) mean correlation over targets of (targets, genes) matrices, genes drawn with replacement.

    Genes whose observation is NaN do not count for that target; targets without two others are left out.
    """
    counts = _counts(predicted.shape[1], fold, seed)
    patterns, pattern = np.unique(np.isfinite(observed), axis=0, return_inverse=True)
    drawn = [
        _drawn(
            predicted[pattern == number][:, genes], observed[pattern == number][:, genes], counts[:, genes]
        )
        for number, genes in enumerate(patterns)
        if genes.sum() > 1
    ]
    return finite_mean(np.concatenate(drawn, axis=1), 1) if drawn else np.full(DRAWS, np.nan)


def _drawn(predicted: Matrix, observed: Matrix, counts: Table) -> Table:
    """(DRAWS, targets) correlations."""
    x, y = (table.T.astype(np.float64) for table in (predicted, observed))
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = counts / counts.sum(1, keepdims=True)
        mx, my = weights @ x, weights @ y
        covariance = weights @ (x * y) - mx * my
        r: Table = covariance / np.sqrt((weights @ x**2 - mx**2) * (weights @ y**2 - my**2))
    return r


def interval(draws: Vector) -> tuple[float, float]:
    """Percentile interval of bootstrap draws."""
    low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _counts(genes: int, fold: int, seed: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng((seed, fold, genes))
    return random.multinomial(genes, np.full(genes, 1 / genes), size=DRAWS).astype(np.float64)
