"""Executors: where the packs of a bulk run are computed, and the runner that computes them, to the same bits.

A runner is in the command itself, or one on each Dask worker. Its child process computes, and its own process
puts the matrices into the store while the next forward runs; in one process the two would take turns, because
small matrices cost Python time and no waiting.
"""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self

from covpool.extractor.errors import ExtractionError
from covpool.extractor.models.models import describe
from covpool.service.errors import BulkError
from covpool.service.extraction.engine_process import EngineProcess
from covpool.service.extraction.patience import Row, settle
from covpool.service.extraction.work import Outcome, Spec, Work
from covpool.service.settings import Settings

log = logging.getLogger(__name__)

#: Threads that use a runner: while one waits for the child, the other puts results into the store.
LANES = 2
#: Pieces of work that a runner holds: one is computed, one is put into the store, and one waits.
AHEAD = LANES + 1


class Runner:
    """Model and store of a bulk run; several threads may use it.

    Args:
        spec: of the run.

    Raises:
        ExtractionError: the model has other weights than those of the plan.
        Fault: the model cannot be loaded here.
        StoreError: the store cannot be opened.
    """

    def __init__(self, spec: Spec) -> None:
        self._model = describe(spec.model)
        if self._model.weights != spec.weights:
            raise ExtractionError(
                f"model {spec.model} has weights {self._model.weights[:12]} here, the plan was made with "
                f"{spec.weights[:12]}; give every worker the same files"
            )
        self._store = spec.open_store()
        self._engine = EngineProcess(
            Settings.read(
                store=spec.store,
                catalog=spec.catalog,
                durability=spec.durability,
                codec=spec.codec,
                device=spec.device or "cpu",
                threads=spec.threads,
                keep_s=spec.keep_s,
            )
        )
        # The child has one user at a time.
        self._turn = threading.Lock()
        self._over = threading.Event()
        try:
            self._engine.load(self._model, self._model.numerics(spec.dtype))
        except BaseException:
            self.close()
            raise

    def run(self, work: Work) -> Outcome:
        """Compute and cache what the store lacks of each workload, or report why there is no result.

        During an outage of the storage, the call waits.

        Raises:
            OutsideFault, StoreError: no workload is at fault.
            BulkError: the runner was stopped.
        """
        errors: dict[int, str] = {}
        put: list[int] = []
        busy: list[float] = []

        def compute(indices: list[int], share: float) -> list[Row]:
            workloads = [work.workloads[index] for index in indices]
            with self._turn:
                if self._over.is_set():
                    raise BulkError("the run was stopped")
                before = self._engine.busy_s
                computed = self._engine.run(self._model, workloads, share)
                rows = [row for _, member_rows in computed for row in member_rows]
                busy.append(self._engine.busy_s - before)
                return rows

        settled = settle(
            self._store, work.workloads, compute, self._over, on_put=lambda rows: put.append(len(rows))
        )
        for index, fault in settled:
            if fault is not None:
                log.warning("%s: %s", work.workloads[index].name, fault)
                errors[index] = str(fault)
        return Outcome(errors, sum(put), sum(busy))

    def stop(self) -> None:
        """Stop running work."""
        self._over.set()
        self._engine.kill()

    def close(self) -> None:
        """End the child and release the store."""
        self._engine.close()
        self._store.close()


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

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
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

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """See `Executor`."""
        if kind is not None:
            # An interrupt does not wait for the current forward.
            self._runner.stop()
        self._pool.shutdown(cancel_futures=True)
        self._runner.close()
