"""Where a fit reads its moments: a re-readable collection of one recipe, and the passes made over it.

A pass is always split into the same parts, and their results are added in the same order, so a
fit gives the same bits with or without an executor (threads, processes, or Dask's `Client.get_executor()`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.store.threads import one_thread
from covpool.store.values.keys import Recipe, sha256
from covpool.store.values.moments import Moments

T = TypeVar("T")

#: Moments in one part of a pass.
PART = 128
#: Parts that an executor works on at once; each result may be a (d, d) matrix.
OUTSTANDING = 8


class MomentsSource(Protocol):
    """Moments of one recipe, in a fixed order; picklable where an executor has processes."""

    @property
    def recipe(self) -> Recipe:
        """What they were made with."""

    @property
    def digest(self) -> str:
        """Names the collection: what resumes a fit must have the same."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        """The moments at these places, in this order; an executor's threads call it side by side."""


@dataclass(frozen=True)
class MomentsList:
    """A source in memory."""

    moments: Sequence[Moments]
    recipe: Recipe

    @property
    def digest(self) -> str:
        """Over counts and values."""
        return sha256("".join(f"{m.count} {sha256(m.second_moment.tobytes())}\n" for m in self.moments))

    def __len__(self) -> int:
        return len(self.moments)

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        """The moments at these places."""
        return (self.moments[index] for index in indices)


def width_of(source: MomentsSource) -> int:
    """Number of features d.

    Raises:
        FitError: the source is empty.
    """
    if not len(source):
        raise FitError("there are no moments to fit on; extract some, or choose others")
    return next(source.read([0])).width


def sweep(
    source: MomentsSource,
    work: Callable[[Iterator[Moments]], T],
    executor: Executor | None = None,
    *,
    begin: int = 0,
) -> Iterator[T]:
    """Results of `work` on each part of the source, in order.

    Args:
        source: read once to the end.
        work: picklable where the executor has processes.
        executor: computes parts in parallel; None for here and now.
        begin: the first of the moments to read.
    """
    parts = [range(start, min(start + PART, len(source))) for start in range(begin, len(source), PART)]
    if executor is None:
        yield from (_work_on(source, work, part, alone=True) for part in parts)
        return
    pending: deque[Future[T]] = deque()
    for part in parts:
        if len(pending) == OUTSTANDING:
            yield pending.popleft().result()
        pending.append(executor.submit(_work_on, source, work, part))
    while pending:
        yield pending.popleft().result()


def _work_on(
    source: MomentsSource, work: Callable[[Iterator[Moments]], T], part: range, *, alone: bool = False
) -> T:
    moments = source.read(part)
    first = next(moments)
    with one_thread(first.width if alone else 0):
        return work(chain([first], moments))


def batches(moments: Iterator[Moments], width: int, megabytes: int = 32) -> Iterator[NDArray[np.float64]]:
    """(b, d, d) float64 stacks of second moments, of at most so many megabytes."""
    size = max(1, megabytes * 2**20 // (8 * width * width))
    batch = []
    for matrix in moments:
        batch.append(matrix.second_moment)
        if len(batch) == size:
            yield np.stack(batch).astype(np.float64)
            batch = []
    if batch:
        yield np.stack(batch).astype(np.float64)
