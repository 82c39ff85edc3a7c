"""One process: bulk work in a child process beside this one, begun anew when it dies."""

import multiprocessing
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Self

from covpool.service.bulk.executors import AHEAD, ATTEMPTS
from covpool.service.bulk.work import Died, Outcome, Spec, Work
from covpool.service.errors import BulkError

if TYPE_CHECKING:
    from covpool.service.bulk.engine import Engine

_engine: "Engine | None" = None


class OneProcess:
    """Runs work in one child process.

    Args:
        spec: of the run.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._under_way: OrderedDict[str, tuple[Work, Future[Outcome]]] = OrderedDict()
        self._deaths: dict[str, int] = {}
        self._pool = self._start()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return 1

    @property
    def room(self) -> int:
        """See `Executor.room`."""
        return AHEAD

    def submit(self, work: Work) -> None:
        """See `Executor.submit`."""
        try:
            future = self._pool.submit(_run, work)
        except BrokenProcessPool as error:
            # Told as if it had died a moment later.
            future = Future()
            future.set_exception(error)
        self._under_way[work.key] = work, future

    def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
        """See `Executor.settled`."""
        futures = [future for _, future in self._under_way.values()]
        ended = wait(futures, timeout, return_when=FIRST_COMPLETED).done
        try:
            for key, (work, future) in list(self._under_way.items()):
                if future in ended:
                    outcome = future.result()
                    del self._under_way[key]
                    yield work, outcome
        except BrokenProcessPool:
            yield from self._begin_anew()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up what is under way."""
        if kind is not None:
            # Before the pool forgets it: whoever interrupts does not wait for a forward.
            self._kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin_anew(self) -> Iterator[tuple[Work, Died]]:
        """Start another child; the work that was running is tried again, until it has killed too many."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        # The child takes work in order, so it was running the oldest that is not done.
        under_way = [work for work, future in self._under_way.values() if not _is_done(future)]
        done = [(work, future) for work, future in self._under_way.values() if _is_done(future)]
        self._under_way.clear()
        self._pool = self._start()
        for work, future in done:
            self._under_way[work.key] = work, future
        if under_way:
            culprit = under_way[0]
            self._deaths[culprit.key] = self._deaths.get(culprit.key, 0) + 1
            if self._deaths[culprit.key] >= ATTEMPTS:
                under_way = under_way[1:]
                yield culprit, Died(f"killed its process {ATTEMPTS} times")
        for work in under_way:
            self.submit(work)

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_guard)
        try:
            pool.submit(_load, self._spec).result()
        except BrokenProcessPool as error:
            raise BulkError(
                "the process that runs the model ended while it loaded it; see the log above, and whether "
                "memory is short"
            ) from error
        return pool

    def _kill(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()


def _is_done(future: "Future[Outcome]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _guard() -> None:
    """End with the parent, however it ends; an interrupt is the parent's to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), name="end with parent", daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _load(spec: Spec) -> None:
    global _engine
    from covpool.service.bulk.engine import Engine

    _engine = Engine(spec)


def _run(work: Work) -> Outcome:
    assert _engine is not None
    return _engine.run(work)
