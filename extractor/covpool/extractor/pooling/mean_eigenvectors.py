"""Bottleneck from the eigenvectors of the mean cached moment: closed form, tied, no model needed."""

from collections.abc import Iterable

import numpy as np

from covpool.store.bottleneck import Bottleneck
from covpool.store.keys import Recipe
from covpool.store.moments import Moments


def fit_mean_eigenvectors(moments: Iterable[Moments], recipe: Recipe, *, k: int, name: str) -> Bottleneck:
    """Tied bottleneck L = R whose columns are the top-k eigenvectors of the mean second moment.

    Every sequence weighs the same, whatever its length. One pass; holds one d x d sum in float64.
    Eigenvectors are ordered by falling eigenvalue and signed so that their largest entry is positive.

    Args:
        moments: of one recipe.
        recipe: that recipe, kept in the bottleneck.
        k: columns, at most the width.
        name: what requests will call it.

    Raises:
        ValueError: there are no moments, or k exceeds their width.
    """
    total, count = None, 0
    for one in moments:
        c = one.second_moment.astype(np.float64)
        total = c if total is None else total + c
        count += 1
    if total is None or not 1 <= k <= len(total):
        raise ValueError(f"cannot fit k={k} on {count} moments of width {0 if total is None else len(total)}")
    values, vectors = np.linalg.eigh(total / count)
    top = vectors[:, ::-1][:, :k]
    top = top * np.sign(top[np.abs(top).argmax(0), np.arange(k)])
    fit = {
        "method": "eigenvectors of the mean second moment",
        "sequences": count,
        "share_of_trace": float(values[::-1][:k].sum() / values.sum()),
    }
    projection = np.ascontiguousarray(top, dtype=np.float32)
    return Bottleneck(projection, projection, name=name, recipe=recipe, fit=fit)
