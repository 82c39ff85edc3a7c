"""Bottleneck from the eigenvectors of the mean cached moment: closed form, tied, one pass."""

from concurrent.futures import Executor

from covpool.extractor.fitting.bottlenecks import check_k, tied_bottleneck
from covpool.extractor.fitting.source import MomentsSource
from covpool.extractor.fitting.summary import Scaling, summarise
from covpool.store.poolings.bottleneck import Bottleneck


def fit_mean_eigenvectors(
    source: MomentsSource,
    *,
    k: int,
    name: str,
    scaling: Scaling = "none",
    executor: Executor | None = None,
) -> Bottleneck:
    """Tied bottleneck L = R = D U: U are the top-k eigenvectors of D C̄ D, C̄ the mean second moment.

    Every sequence weighs the same, whatever its length. One pass; holds one d x d sum in float64.
    Eigenvectors are ordered by falling eigenvalue and signed so that their largest entry is positive.

    Args:
        source: training moments.
        k: columns, at most the width.
        name: what requests will call it.
        scaling: D, see `Scaling`.
        executor: computes parts of the pass in parallel.

    Raises:
        FitError: there are no moments, or k exceeds their width.
    """
    check_k(source, k)
    summary = summarise(source, executor)
    scale = summary.scale(scaling)
    vectors, values = summary.eigenvectors(k, scale)
    fit = {
        "method": "eigenvectors of the mean second moment",
        "scaling": scaling,
        "sequences": summary.sequences,
        "tokens": summary.tokens,
        "share_of_trace": float(values[:k].sum() / values.sum()),
        "curve": [float(value) for value in (values / values.sum()).cumsum()[: 4 * k]],
        "curve_of": "share of the trace",
        "curve_by": "number of eigenvectors",
    }
    return tied_bottleneck(vectors, scale, name, source.recipe, fit)
