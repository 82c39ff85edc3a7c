"""Threads of linear algebra: matrices are worked on side by side, each on one thread of numpy's BLAS.

BLAS divides even a 64 x 64 decomposition among threads, which wait for each other at every step. With the
cores idle that gains nothing (two cores: d = 64 the same time, 512 0.9 of it, 1536 0.7 of it); with the cores
busy it costs 4 to 15 times the time at d = 64 and up to 12 times at d = 1536. One thread for each matrix is
as fast on idle cores, where several matrices are worked on, and its bits depend on neither load nor cores.

BLAS has one number of threads for the whole process, so who needs one thread is counted: the first to come
sets it, the last to leave puts back what was.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

#: A matrix of this side, worked on alone, may have all threads; see above for what that gains and costs.
LARGE = 1536

#: Bytes that matrices worked on side by side may take, and float64 copies that a root of one needs.
MEMORY_BYTES = 2 << 30
COPIES = 5

_lock = threading.Lock()
_inside = 0
_before: Any = None


@contextmanager
def one_thread(side: int = 0) -> Iterator[None]:
    """One BLAS thread for the process while the body runs, or another body under this rule does.

    Args:
        side: of the one matrix that is worked on; from `LARGE` on nothing is changed.
    """
    if side >= LARGE:
        yield
        return
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = _controller().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _before.restore_original_limits()


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], *, side: int) -> Iterator[Result]:
    """`work` of every item, in their order, on as many threads as there are cores, each with one BLAS thread.

    Args:
        work: must bear being called by several threads.
        items: read here, as far ahead as there are threads.
        side: of the matrices; of wide ones so many are under way as `MEMORY_BYTES` hold.
    """
    most = min(cores(), max(1, MEMORY_BYTES // (8 * COPIES * side * side)))
    left = iter(items)
    with one_thread():
        pool = ThreadPoolExecutor(most, thread_name_prefix="covpool-matrix")
        try:
            waiting = deque(pool.submit(work, one) for one in islice(left, most + 1))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, one) for one in islice(left, 1))
                yield result
        finally:
            # Whoever stops early waits for what is under way, as a store may be closed next.
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries of this process, looked up once: it takes 50 times as long as setting a number."""
    import numpy  # noqa: F401 (its BLAS is the one that is set; it must be there when it is looked up)

    return ThreadpoolController().select(user_api="blas")
