"""Similarity of genes, and of the representations of the same genes in two layers or models.

Two genes: the cosine <A, B> / (‖A‖ ‖B‖) of their second moments. Two recipes: linear centred kernel alignment
(Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations Revisited", 2019) of the
genes-by-genes matrices of dot products <C_i, C_j>: 1 if both have the same structure among genes, up to
rotation and scale. That estimator is biased upwards if genes are fewer than numbers, so the unbiased HSIC of
Song et al. 2012 replaces it (as in Nguyen, Raghu and Kornblith 2021).

Nearest neighbours are exact: a pass takes one matrix product per batch, less time than reading, so there is
no approximate index.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import PoolingError
from covpool.store.poolings.kinds import Pooling
from covpool.store.poolings.matrices import half_vector
from covpool.store.threads import side_by_side
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

Matrix = NDArray[np.float64]

#: Bytes of half-vectors per block in `moment_gram`; two such blocks are in memory.
BLOCK_BYTES = 256 << 20


def cosine_matrix(gram: Matrix) -> Matrix:
    """(n, n) cosines from a matrix of dot products, as `moment_gram` gives."""
    norms = np.sqrt(np.diagonal(gram))
    safe = np.where(norms > 0, norms, 1.0)
    return gram / safe[:, None] / safe


def moment_gram(read: Callable[[Sequence[int]], Iterable[Moments]], count: int) -> Matrix:
    """(n, n) float64 dot products <C_i, C_j>; wide moments are read in blocks, once per pair of blocks.

    Args:
        read: returns the moments at the given indices, in their order.
        count: n.
    """
    if count == 0:
        return np.zeros((0, 0))
    width = next(iter(read([0]))).width
    step = max(1, BLOCK_BYTES // (4 * width * (width + 1)))
    parts = [range(start, min(start + step, count)) for start in range(0, count, step)]
    gram = np.empty((count, count))
    for index, part in enumerate(parts):
        rows = _vectors(read, part)
        for other in parts[: index + 1]:
            columns = rows if other == part else _vectors(read, other)
            gram[part.start : part.stop, other.start : other.stop] = rows @ columns.T
            gram[other.start : other.stop, part.start : part.stop] = columns @ rows.T
    return gram


def linear_cka(first: Matrix, second: Matrix) -> float:
    """Linear CKA of two (n, n) matrices of dot products of the same n genes, in one order.

    Raises:
        ValueError: shapes differ, or there are fewer than four genes.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise ValueError(f"matrices {first.shape} and {second.shape}: give two (n, n) of the same genes")
    if len(first) < 4:
        raise ValueError(f"alignment needs four genes or more, there are {len(first)}")
    scale = np.sqrt(max(_hsic(first, first), 0) * max(_hsic(second, second), 0))
    return float(_hsic(first, second) / scale) if scale > 0 else 0.0


def _vectors(read: Callable[[Sequence[int]], Iterable[Moments]], part: range) -> Matrix:
    rows: Matrix = np.stack([half_vector(moments.second_moment) for moments in read(part)])
    return rows


def _hsic(k: Matrix, m: Matrix) -> float:
    n = len(k)
    k, m = (x - np.diag(np.diagonal(x)) for x in (k, m))
    trace = float(np.vdot(k, m))
    sums = float(k.sum() * m.sum()) / ((n - 1) * (n - 2))
    crossed = 2 * float(k.sum(0) @ m.sum(0)) / (n - 2)
    return (trace + sums - crossed) / (n * (n - 3))


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
