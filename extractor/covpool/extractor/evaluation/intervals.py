"""Bootstrap of a score over targets and over genes, with the same draws for every representation (paired).

Genes are drawn within their fold. Pearson's r is computed again for every draw. The mean area under the ROC
curve changes by the sum of the influences of the drawn genes, which is its bootstrap to first order.
"""

import numpy as np
import numpy.typing as npt

from covpool.extractor.evaluation.inputs.targets import Matrix
from covpool.extractor.evaluation.scores import Table, Vector, finite_mean

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
