"""Closed form of the autoencoder: a tied orthonormal projection by alternating eigendecompositions.

The squared reconstruction loss Σ ‖U Uᵀ C U Uᵀ - C‖² = Σ ‖C‖² - ‖UᵀCU‖² is least where Σ ‖UᵀCU‖² is greatest:
GLRAM (Ye 2005) and, uncentred, multilinear PCA (Lu et al. 2008). One sweep takes for U the top-k eigenvectors
of Σ C U Uᵀ C; as P -> Σ C P C is a positive semi-definite map for C ⪰ 0, the loss never rises
(Cauchy-Schwarz), and nothing is gained by untying L and R. The unsquared loss Σ ‖·‖ of the paper is lowered
by weighting each C with 1 / ‖its residual‖ (iteratively reweighted least squares), from the squared optimum
on: there are several local optima, and from the eigenvectors of the mean moment it ended in worse ones (on 30
real genes, d = 64, k = 4: 3.7 % above the autoencoder on C, 2.3 % above the later start on D C D; more sweeps
changed neither).
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.fitting.bottlenecks import Losses, check_k, tied_bottleneck
from covpool.extractor.fitting.source import MomentsSource, batches, sweep
from covpool.extractor.fitting.state import fit_state
from covpool.extractor.fitting.summary import Scaling, leading, summarise
from covpool.store.poolings.bottleneck import Bottleneck
from covpool.store.values.moments import Moments

Matrix = NDArray[np.float64]

#: A residual counts as at least this share of its matrix, so that one met exactly does not take all weight.
LEAST_RESIDUAL = 1e-9


def fit_glram(
    source: MomentsSource,
    *,
    k: int,
    name: str,
    scaling: Scaling = "rms",
    reweighted: bool = False,
    sweeps: int = 50,
    tolerance: float = 1e-7,
    state: Path | None = None,
    executor: Executor | None = None,
) -> Bottleneck:
    """Tied bottleneck L = R = D U with the least reconstruction loss of D C D.

    Starts from the eigenvectors of the mean moment and ends when a sweep lowers the loss by less than
    `tolerance` of it; what is reweighted goes on from there in the same way. Each sweep is one pass and holds
    one d x d sum in float64. The optimum is a local one.

    Args:
        source: training moments.
        k: columns, at most the width.
        name: what requests will call it.
        scaling: D, see `Scaling`.
        reweighted: minimise the unsquared loss of the paper instead of the squared one.
        sweeps: at most so many, of each loss.
        tolerance: relative.
        state: directory in which to keep the state of every sweep, and from which to go on.
        executor: computes parts of each pass in parallel.

    Raises:
        FitError: there are no moments, k exceeds their width, or the state is of another fit.
    """
    check_k(source, k)
    settings = {"method": "glram", "k": k, "scaling": scaling, "reweighted": reweighted, "first": "squared"}
    with fit_state(state, source, settings) as kept:
        saved = kept.load()
        if saved is None:
            summary = summarise(source, executor)
            scale = summary.scale(scaling)
            columns, curve, weighted = summary.eigenvectors(k, scale)[0], np.zeros(0), False
        else:
            scale, columns, curve = saved["scale"], saved["columns"], saved["curve"]
            weighted = bool(saved["weighted"])
        while True:
            losses, following = _pass(source, columns, scale, weighted, executor)
            loss = losses.unsquared if weighted else losses.squared
            gained = len(curve) == 0 or curve[-1] - loss > tolerance * curve[-1]
            curve = np.append(curve, loss)
            if gained and len(curve) <= sweeps:
                columns = leading(following, k)[0]
            elif weighted == reweighted:
                break
            else:
                weighted, curve = True, np.zeros(0)
            kept.save(scale=scale, columns=columns, curve=curve, weighted=np.array(weighted))
    fit = {
        "method": "alternating eigendecompositions (GLRAM)" + (", reweighted" if reweighted else ""),
        "scaling": scaling,
        "sequences": len(source),
        "sweeps": len(curve) - 1,
        "squared_loss": losses.squared / losses.total,
        "mean_norm": losses.unsquared / len(source),
        "curve": [float(value) for value in curve / (len(source) if reweighted else losses.total)],
        "curve_of": "mean norm of the residual" if reweighted else "squared loss, share of Σ ‖C‖²",
        "curve_by": "sweep",
    }
    return tied_bottleneck(columns, scale, name, source.recipe, fit)


#: Ends with the least unsquared loss.
fit_glram_reweighted = partial(fit_glram, reweighted=True)


def _pass(
    source: MomentsSource, columns: Matrix, scale: Matrix, reweighted: bool, executor: Executor | None
) -> tuple[Losses, Matrix]:
    """Losses of U = columns, and the matrix Σ w C U Uᵀ C whose eigenvectors come next."""
    work = partial(_part, columns=columns, scale=scale, reweighted=reweighted)
    losses, following = Losses(), np.zeros((len(scale), len(scale)))
    for part, matrix in sweep(source, work, executor):
        losses += part
        following += matrix
    return losses, following


def _part(
    moments: Iterator[Moments], *, columns: Matrix, scale: Matrix, reweighted: bool
) -> tuple[Losses, Matrix]:
    width = len(scale)
    losses, following = Losses(), np.zeros((width, width))
    for c in batches(moments, width):
        c *= scale[:, None] * scale
        norms = np.einsum("bij,bij->b", c, c)
        half = c @ columns
        kept = columns.T @ half
        squared = np.maximum(norms - np.einsum("bij,bij->b", kept, kept), 0)
        losses += Losses.of(squared, norms)
        if reweighted:
            least = np.maximum(LEAST_RESIDUAL**2 * norms, np.finfo(np.float64).tiny)
            half *= np.maximum(squared, least)[:, None, None] ** -0.25
        side_by_side = half.transpose(1, 0, 2).reshape(width, -1)
        following += side_by_side @ side_by_side.T
    return losses, following
