"""Nearest neighbours of sequences among cached moments: exact, one pass, batched.

A pass takes one matrix product per batch, less time than reading, so there is no approximate index.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import PoolingError
from covpool.store.poolings.kinds import Pooling
from covpool.store.threads import side_by_side
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

#: Bytes of embeddings in a batch.
BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Neighbour:
    """A cached sequence and the cosine of its embedding with the query's."""

    key: MomentsKey
    similarity: float


def nearest_neighbours(
    pooling: Pooling,
    queries: Sequence[Moments],
    items: Iterable[tuple[MomentsKey, Moments]],
    count: int = 10,
) -> list[list[Neighbour]]:
    """For each query the `count` most similar items, best first; a query among the items finds itself.

    Args:
        pooling: the embeddings to compare; "second_moment" compares whole moments by their cosine.
        queries: moments of the same features as the items.
        items: read once; memory is needed for one batch of embeddings.
        count: maximum number of neighbours.

    Raises:
        PoolingError: there are no queries, or they have another width.
        BottleneckError: the pooling was fitted on other moments.
    """
    if not queries:
        raise PoolingError("nearest neighbours of nothing; give at least one query")
    units = _unit(np.stack([pooling.embed(query).ravel() for query in queries]))
    best: list[list[Neighbour]] = [[] for _ in queries]
    for keys, rows in _batches(pooling, items, units.shape[1], queries[0].width):
        similarities = units @ _unit(rows).T
        for nearest, row in zip(best, similarities, strict=True):
            nearest += [Neighbour(key, float(value)) for key, value in zip(keys, row, strict=True)]
            nearest.sort(key=lambda item: (-item.similarity, item.key.digest))
            del nearest[count:]
    return best


def _batches(
    pooling: Pooling, items: Iterable[tuple[MomentsKey, Moments]], size: int, width: int
) -> Iterator[tuple[list[MomentsKey], NDArray[np.float64]]]:
    most = max(1, BATCH_BYTES // (8 * size))
    keys: list[MomentsKey] = []
    rows: list[NDArray[np.float64]] = []

    def embedded(item: tuple[MomentsKey, Moments]) -> tuple[MomentsKey, NDArray[np.float64]]:
        key, moments = item
        pooling.require(key.recipe)
        return key, pooling.embed(moments).ravel()

    for key, embedding in side_by_side(embedded, items, side=width):
        if embedding.size != size:
            raise PoolingError(
                f"{key}: {embedding.size} numbers against {size} of the query; compare moments of one layer"
            )
        keys.append(key)
        rows.append(embedding)
        if len(keys) == most:
            yield keys, np.stack(rows)
            keys, rows = [], []
    if keys:
        yield keys, np.stack(rows)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
