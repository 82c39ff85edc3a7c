"""The table that linear scores are fitted on: a plain kind of scaled or projected moments, row by row.

The table lies on disk in float32 (n x p x 4 bytes), so memory is one block of it whatever n is. Wide layers
are projected first, which keeps p at c (c + 1) / 2: to the span of the leading eigenvectors of the mean
moment, in a basis of it that is near to single features.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.source import MomentsSource, sweep, width_of
from covpool.extractor.fitting.state import FitState
from covpool.extractor.fitting.summary import Scaling, summarise
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.matrices import project
from covpool.store.threads import one_thread
from covpool.store.values.moments import Moments

#: Wider layers are projected to so many directions by default. On E. coli (d = 512, layers of
#: ntv3-mini side by side) 256, 128 and 64 kept 98, 85 and 68 % of what the unprojected root gains over the
#: mean (93, 75 and 55 % on genes not chosen by), the eigenvectors themselves 56, 39 and 40 %: docs/wide.md.
DIRECTIONS = 256


def projection_of(
    source: MomentsSource, scaling: Scaling, directions: int | None, executor: Executor | None
) -> NDArray[np.float64]:
    """(d,) diagonal of D, or (d, c) D U with U a localised basis of the top-c eigenvectors of D C̄ D.

    Args:
        source: training moments.
        scaling: D.
        directions: c; None for `DIRECTIONS`, and for no projection up to that width.
        executor: computes parts of the pass in parallel.

    Raises:
        FitError: c is not from 1 to the width.
    """
    width = width_of(source)
    if directions is None:
        directions = min(width, DIRECTIONS)
    if not 1 <= directions <= width:
        raise FitError(f"cannot project width {width} to {directions} directions; choose 1 to {width}")
    summary = summarise(source, executor)
    scale = summary.scale(scaling)
    if directions == width:
        return scale
    return scale[:, None] * localised(summary.eigenvectors(directions, scale)[0])


def localised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d, c) orthonormal columns of the same span, each as near to one feature as they can all be.

    The c features are those that pivoted QR of the projector onto the span picks; the basis is the
    orthonormal one nearest to their projections (Damle, Lin and Ying 2015, "Compressed representation of
    Kohn-Sham orbitals via selected columns of the density matrix"). It depends on the span alone, while what
    is z-scored entry by entry depends on the basis.

    Args:
        columns: (d, c) orthonormal.
    """
    rest, chosen = columns.copy(), []
    with one_thread(columns.shape[1]):
        for _ in range(columns.shape[1]):
            chosen.append(int((rest**2).sum(1).argmax()))
            direction = rest[chosen[-1]] / np.linalg.norm(rest[chosen[-1]])
            rest -= np.outer(rest @ direction, direction)
        left, _, right = np.linalg.svd(columns[chosen])
        basis: NDArray[np.float64] = columns @ (left @ right).T
    return basis


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
    saved = state.load()
    done = 0 if saved is None else int(saved["done"])
    work = partial(_rows, kind=kind, projection=projection)
    for rows in sweep(source, work, executor, begin=done):
        table[done : done + len(rows)] = rows
        done += len(rows)
        table.flush()  # type: ignore[attr-defined]
        state.save(projection=projection, done=np.array(done))
    return table


def _rows(moments: Iterator[Moments], *, kind: str, projection: NDArray[np.float64]) -> NDArray[np.float32]:
    chosen = pooling(kind)
    return np.stack([chosen.embed(project(matrix, projection)) for matrix in moments]).astype(np.float32)
