"""Embeddings of many sequences as one table that says what it holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import PoolingError
from covpool.store.poolings.kinds import Pooling
from covpool.store.values.keys import MomentsKey, Recipe
from covpool.store.values.moments import Moments


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings under one pooling of moments of one feature space.

    Attributes:
        values: (n, p) float64, each embedding flattened row-major.
        shape: shape of one embedding, (p,) or (k, k).
        keys: of the n moments, in order.
        recipe: of the first; the others share its feature space.
        pooling: what made them.
        width: features d of the moments.
    """

    values: NDArray[np.float64]
    shape: tuple[int, ...]
    keys: tuple[MomentsKey, ...]
    recipe: Recipe
    pooling: Pooling
    width: int

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def names(self) -> list[str]:
        """Name of each of the p numbers."""
        return self.pooling.feature_names(self.width)

    @cached_property
    def standardise(self) -> NDArray[np.bool_]:
        """(p,) whether a probe should z-score a number, or leave it as it is."""
        return np.concatenate(
            [np.full(part.size(self.width), part.standardise) for part in self.pooling.parts]
        )


def embed_all(pooling: Pooling, items: Iterable[tuple[MomentsKey, Moments]]) -> Embeddings:
    """Embeddings of moments, in their order; one pass, one matrix at a time.

    Args:
        pooling: plain, fitted or joined.
        items: keys with their moments, as `Store` gives them.

    Raises:
        PoolingError: there are none, or they are of different feature spaces.
        BottleneckError: the pooling was fitted on other moments.
    """
    keys: list[MomentsKey] = []
    rows: list[NDArray[np.float64]] = []
    shape: tuple[int, ...] = ()
    width = 0
    for key, moments in items:
        if keys and key.recipe.feature_space != keys[0].recipe.feature_space:
            raise PoolingError(
                f"pooling {pooling.name!r}: moments of {keys[0].recipe.model} {keys[0].recipe.layer} and of "
                f"{key.recipe.model} {key.recipe.layer} do not belong in one table; embed them apart"
            )
        if not keys:
            pooling.require(key.recipe)
        embedding = pooling.embed(moments)
        shape, width = embedding.shape, moments.width
        keys.append(key)
        rows.append(embedding.ravel())
    if not keys:
        raise PoolingError(f"pooling {pooling.name!r}: there are no moments to embed; extract some first")
    return Embeddings(np.stack(rows), shape, tuple(keys), keys[0].recipe, pooling, width)
