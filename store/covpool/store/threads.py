"""Threads of linear algebra: matrices are processed in parallel, each on one thread of numpy's BLAS.

BLAS divides even a 64 x 64 decomposition among threads, which wait for each other at every step. With the
cores idle that gains nothing (two cores: d = 64 the same time, 512 0.9 of it, 1536 0.7 of it); with the cores
busy it costs 4 to 15 times the time at d = 64 and up to 12 times at d = 1536. One thread for each matrix is
as fast on idle cores, where several matrices are worked on, and its bits depend on neither load nor cores.

OpenBLAS has one number of threads for the whole process, so the users of this rule are counted: the first
sets it, the last restores the old number. MKL, and OpenBLAS over OpenMP, have one for every thread.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

#: From this side on a single matrix may use all threads; see above for gain and cost.
LARGE = 1536

#: Bytes for matrices that are processed in parallel, and float64 copies that a root of one needs.
MEMORY_BYTES = 2 << 30
COPIES = 5


@contextmanager
def one_thread(side: int = 0) -> Iterator[None]:
    """One BLAS thread while the body runs.

    If the BLAS has one number for the process, this holds for all of its threads, until the last such body
    has ended.

    Args:
        side: of a single matrix that is processed; from `LARGE` on nothing is changed.
    """
    if side >= LARGE:
        yield
        return
    shared, own = _libraries()
    before = [(library, library.num_threads) for library in own]
    for library in own:
        library.set_num_threads(1)
    shared.enter()
    try:
        yield
    finally:
        shared.leave()
        for library, number in before:
            library.set_num_threads(number)


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], *, side: int
) -> Generator[Result, None, None]:
    """`work` of every item, in their order, on as many threads as there are cores, each with one BLAS thread.

    Args:
        work: must be thread-safe.
        items: read in the calling thread, a little ahead.
        side: of the matrices; at most as many are in work as fit into `MEMORY_BYTES`.
    """
    most = min(cores(), max(1, MEMORY_BYTES // (8 * COPIES * side * side)))

    def on_one_thread(item: Item) -> Result:
        with one_thread():
            return work(item)

    with one_thread():
        yield from in_order(on_one_thread, items, threads=most, ahead=most + 1)


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Result, None, None]:
    """`work` of every item, in their order, on several threads.

    Args:
        work: must be thread-safe.
        items: read in the calling thread, when needed.
        threads: number of threads.
        ahead: items that are begun, or done, before the first result is taken.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="covpool")
    try:
        waiting = deque(pool.submit(work, item) for item in islice(left, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(left, 1))
            yield result
    finally:
        # On an early stop wait for items in work, as the store may be closed next.
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Shared:
    """BLAS libraries with one number of threads for the process, and how many bodies need it to be one."""

    def __init__(self, libraries: Iterable[Any]) -> None:
        self._libraries = list(libraries)
        self._before: list[int] = []
        self._inside = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._libraries))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._set(self._before)

    def _set(self, numbers: Iterable[int]) -> None:
        for library, number in zip(self._libraries, numbers, strict=True):
            # threadpoolctl lets only the thread that was first set the number, and ignores all others. Here
            # any thread may be the first or the last.
            library.clear_controlling_thread(force=True)
            library.set_num_threads(number)
            library.clear_controlling_thread(force=True)


@cache
def _libraries() -> tuple[_Shared, list[Any]]:
    """BLAS libraries with one number of threads for the process, and those with one for every thread.

    Looked up once: that takes 50 times as long as setting a number.
    """
    import numpy  # noqa: F401 (its BLAS must be there when it is looked up)

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    shared = [
        library
        for library in libraries
        if library.internal_api == "openblas" and library.threading_layer != "openmp"
    ]
    return _Shared(shared), [library for library in libraries if library not in shared]
