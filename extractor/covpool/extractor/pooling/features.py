"""The table that linear scores are fitted on: a plain kind of scaled or projected moments, row by row.

The table lies on disk in float32 (n x p x 4 bytes), so memory is one block of it whatever n is. Wide layers
are projected to the leading eigenvectors of the mean moment first, which keeps p at c (c + 1) / 2.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.pooling.source import MomentsSource, sweep, width_of
from covpool.extractor.pooling.state import FitState
from covpool.extractor.pooling.summary import Scaling, summarise
from covpool.store.errors import PoolingError
from covpool.store.moments import Moments
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.projection import project

#: Wider layers are projected first unless told otherwise: the table would have more than 32,896 columns.
WIDE = 256
#: Directions that a wide layer is projected to.
DIRECTIONS = 64


def projection_of(
    source: MomentsSource, scaling: Scaling, directions: int | None, executor: Executor | None
) -> NDArray[np.float64]:
    """(d,) diagonal of D, or (d, c) D U with U the top-c eigenvectors of D C̄ D.

    Args:
        source: training moments.
        scaling: D.
        directions: c; None for no projection up to a width of `WIDE`, and `DIRECTIONS` beyond.
        executor: computes parts of the pass in parallel.

    Raises:
        PoolingError: c is not from 1 to the width.
    """
    width = width_of(source)
    if directions is None:
        directions = width if width <= WIDE else DIRECTIONS
    if not 1 <= directions <= width:
        raise PoolingError(f"cannot project width {width} to {directions} directions; choose 1 to {width}")
    summary = summarise(source, executor)
    scale = summary.scale(scaling)
    if directions == width:
        return scale
    return scale[:, None] * summary.eigenvectors(directions, scale)[0]


def feature_table(
    source: MomentsSource,
    kind: str,
    projection: NDArray[np.float64],
    state: FitState,
    executor: Executor | None,
) -> NDArray[np.float32]:
    """(n, p) numbers of the kind, on disk; rows that a stopped fit has written are not computed again."""
    size = pooling(kind).size(projection.shape[-1])
    table = state.scratch("features", (len(source), size))
    found = state.load()
    done = 0 if found is None else int(found["done"])
    work = partial(_rows, kind=kind, projection=projection)
    for rows in sweep(source, work, executor, begin=done):
        table[done : done + len(rows)] = rows
        done += len(rows)
        table.flush()  # type: ignore[attr-defined]
        state.save(projection=projection, done=np.array(done))
    return table


def _rows(moments: Iterator[Moments], *, kind: str, projection: NDArray[np.float64]) -> NDArray[np.float32]:
    chosen = pooling(kind)
    return np.stack([chosen.embed(project(one, projection)) for one in moments]).astype(np.float32)
