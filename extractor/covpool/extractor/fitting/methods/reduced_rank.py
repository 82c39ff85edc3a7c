"""Supervised scores in closed form: reduced-rank ridge regression on principal scores.

Ridge coefficients B = (SᵀS + λI)⁻¹ SᵀY of targets Y on scores S are cut to rank r where the fit, penalty
included, loses least: B V Vᵀ with V the leading eigenvectors of Bᵀ(SᵀS + λI)B (Mukherjee and Zhu, "Reduced
rank ridge regression and its kernel extension", 2011). The embedding is the r numbers S B V.
"""

from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.methods.principal_scores import principal_features
from covpool.extractor.fitting.source import MomentsSource
from covpool.extractor.fitting.summary import Scaling, signed
from covpool.extractor.fitting.targets import Targets
from covpool.store.poolings.scores import LinearScores
from covpool.store.threads import one_thread

Matrix = NDArray[np.float64]

#: Principal scores that the regression sees, at most.
SCORES = 528
#: Penalties tried first, relative to the mean variance of a score times n; the grid grows while the best is
#: at its edge.
PENALTIES = tuple(10.0**power for power in np.arange(-3, 4.5, 0.5))
MOST_GROWTH = 12


def fit_reduced_rank_ridge(
    source: MomentsSource,
    targets: Targets,
    *,
    k: int,
    name: str,
    features: str = "root",
    scaling: Scaling = "rms",
    directions: int | None = None,
    scores: int = SCORES,
    seed: int = 0,
    state: Path | None = None,
    executor: Executor | None = None,
) -> LinearScores:
    """k supervised scores of a pooling kind.

    The penalty is the one with the least squared error on the held-out block (`targets.HELD_OUT`) of the
    given sequences, which then join the fit.

    Args:
        source: training moments, in an order whose neighbours belong together (as along a chromosome).
        targets: of the same sequences, in the same order; z-scored here.
        k: rank, at most the number of targets.
        name: what requests will call it.
        scores: principal scores the regression sees, at most.
        features, scaling, directions, seed, state, executor: see `fit_principal_scores`.

    Raises:
        FitError: see `fit_principal_scores`; also when targets do not fit, or k exceeds their number.
    """
    targets.check(len(source))
    if not 1 <= k <= len(targets.names):
        raise FitError(f"cannot fit rank {k} to {len(targets.names)} targets; take fewer")
    with principal_features(
        source,
        k=scores,
        or_fewer=True,
        features=features,
        scaling=scaling,
        directions=directions,
        seed=seed,
        state=state,
        executor=executor,
    ) as principal:
        s = principal.scores()
        y = (targets.values - targets.values.mean(0)) / targets.values.std(0)
        with one_thread(max(s.shape[1], y.shape[1])):
            penalty, error = choose_penalty(s, y, targets.training())
            gram = s.T @ s + penalty * len(s) * s.var() * np.eye(s.shape[1])
            coefficients = np.linalg.solve(gram, s.T @ y)
            values, vectors = np.linalg.eigh(coefficients.T @ gram @ coefficients)
        directions_of_targets = signed(vectors[:, ::-1][:, :k])
        explained = values[::-1] / values.sum()
        fit = {
            "method": f"reduced-rank ridge on principal scores of {features}",
            "scaling": scaling,
            "sequences": len(source),
            "targets": len(targets.names),
            "principal_scores": int(s.shape[1]),
            "penalty": penalty,
            "held_out_error": error,
            "curve": [float(share) for share in explained.cumsum()],
            "curve_of": "share of the fitted variance",
            "curve_by": "rank",
        }
        loadings = principal.axes.axes @ coefficients @ directions_of_targets
        return principal.fitted(loadings, name=name, recipe=source.recipe, fit=fit)


def choose_penalty(s: Matrix, y: Matrix, training: int) -> tuple[float, float]:
    """(penalty, held-out error) of ridge of y (n, t) on s (n, m), trained on the first `training` rows.

    The penalty is relative to n times the mean variance of a column of s; the error is the squared one as a
    share of that of the training mean.
    """
    train, held = slice(training), slice(training, None)
    centre, middle = s[train].mean(0), y[train].mean(0)
    x, target = s[train] - centre, y[train] - middle
    values, vectors = np.linalg.eigh(x.T @ x)
    rotated, held_rotated = vectors.T @ (x.T @ target), (s[held] - centre) @ vectors
    baseline = float(((y[held] - middle) ** 2).sum())

    def error(penalty: float) -> float:
        shrunk = rotated / (values + penalty * training * s.var())[:, None]
        return float(((y[held] - middle - held_rotated @ shrunk) ** 2).sum()) / baseline

    tried = {penalty: error(penalty) for penalty in PENALTIES}
    for _ in range(MOST_GROWTH):
        best = min(tried, key=tried.__getitem__)
        if best == max(tried):
            further = 10 * best
        elif best == min(tried):
            further = best / 10
        else:
            break
        tried[further] = error(further)
    best = min(tried, key=tried.__getitem__)
    return best, tried[best]
