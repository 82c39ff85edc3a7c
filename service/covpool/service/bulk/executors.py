"""Executors: where the packs of a bulk run are computed. Both give the same bits."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

from covpool.service.bulk.runner import AHEAD, LANES, Runner
from covpool.service.extraction.work import Outcome, Spec, Work


class Executor(Protocol):
    """Runs work somewhere; the caller keeps at most `room` pieces under way."""

    @property
    def room(self) -> int:
        """Pieces of work that may be under way, over all present workers."""

    def submit(self, work: Work) -> Any:
        """Run a piece of work as soon as a worker is free: a future with `add_done_callback`."""

    def outcome(self, future: Any) -> Outcome | None:
        """The outcome of a future that is done; None when its work runs again.

        Raises:
            Fault: the worker died, probably of this work.
            StoreError, OutsideFault: the store refused.
            BulkError: the workers or their scheduler are lost.
        """

    def check(self) -> None:
        """Check that there are workers.

        Raises:
            BulkError: there are none.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop running work; results that are cached stay."""


class Local:
    """One child process of this one.

    Args:
        spec: of the run.

    Raises:
        ExtractionError, Fault, StoreError: see `Runner`.
    """

    room = AHEAD

    def __init__(self, spec: Spec) -> None:
        self._runner = Runner(spec)
        self._pool = ThreadPoolExecutor(LANES, thread_name_prefix="bulk")

    def submit(self, work: Work) -> "Future[Outcome]":
        """See `Executor.submit`."""
        return self._pool.submit(self._runner.run, work)

    def outcome(self, future: "Future[Outcome]") -> Outcome | None:
        """See `Executor.outcome`."""
        return future.result()

    def check(self) -> None:
        """See `Executor.check`: the next piece of work starts a child if there is none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `Executor`."""
        if kind is not None:
            # An interrupt does not wait for the current forward.
            self._runner.stop()
        self._pool.shutdown(cancel_futures=True)
        self._runner.close()
