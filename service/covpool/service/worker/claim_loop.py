"""Claim loop: claims tasks of one kind, has an engine run them, and ends each; a worker has two such loops.

A loop waits while its storage or database is away, full or read-only, and goes on by itself. The tasks that
it holds are given back without counting an attempt, as soon as the database allows.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from covpool.service.extraction.patience import Backoff
from covpool.service.processes.faults import Fault, InputFault, OutageFault, StartFault, StoreFault
from covpool.service.processes.isolation import isolate
from covpool.service.queue import FitTask, Task, TaskLeases, WorkerState
from covpool.store.errors import StoreError
from covpool.store.outages import probe
from covpool.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T", Task, FitTask)


class Engine(Protocol[T]):
    """Runs tasks in a child process."""

    @property
    def tokens(self) -> Mapping[str, int]:
        """Tokens done by each task of the current run, by id."""

    def run(self, tasks: list[T], share: float) -> Iterator[tuple[T, bool]]:
        """Run tasks that were claimed together; yields each when it is done (True) or was dropped (False).

        Args:
            tasks: at least one.
            share: share of the memory that forwards usually take.

        Raises:
            Fault: the rest was not run.
            StoreError: the end of a task could not be recorded.
        """

    def drop(self, tasks: Collection[str]) -> None:
        """Keep no results of these tasks; stop the run when no others are left."""

    def kill(self) -> None:
        """End the process at once."""

    def close(self) -> None:
        """Let the process end, and wait for it."""


class _GraceOverError(Exception):
    """The worker has to stop, and its batch took longer than the grace period."""


class ClaimLoop(Generic[T]):
    """The claim → run → end loop over the tasks of one kind.

    Args:
        worker: the name under which tasks are leased.
        store: probed before the loop goes on.
        leases: leases of the queue.
        claim: leases the next tasks, if there are any.
        engine: runs them.
        stop: ends the loop after its batch, and every wait.
        poll_s: seconds until the next claim when none was free.
        beat: sends a heartbeat.

    Attributes:
        done: what was done so far.
        pause: why the loop waits; "" while it works.
    """

    def __init__(
        self,
        worker: str,
        store: Store,
        leases: TaskLeases,
        claim: Callable[[], list[T]],
        engine: Engine[T],
        stop: threading.Event,
        poll_s: float,
        beat: Callable[[], None],
    ) -> None:
        self._worker, self._store, self._leases = worker, store, leases
        self._claim: Callable[[], list[T]] = claim
        self._engine: Engine[T] = engine
        self._stop, self._poll_s, self._beat = stop, poll_s, beat
        self._grace_over = threading.Event()
        self._backoff = Backoff(stop)
        # Tasks leased now, by id, and those among them that did not fail and have to be given back.
        self._held: dict[str, T] = {}
        self._owed: set[str] = set()
        self._paused_at = 0.0
        self.done = WorkerState(worker)
        self.pause = ""

    @property
    def paused_s(self) -> float:
        """Seconds since the pause began; 0 while the loop works."""
        return time.monotonic() - self._paused_at if self.pause else 0.0

    @property
    def progress(self) -> dict[str, int]:
        """Tokens done by each task that is leased now, by id."""
        tokens = self._engine.tokens
        return {task: tokens.get(task, 0) for task in list(self._held)}

    def run(self) -> None:
        """Work until `stop` is set, then close the engine."""
        while not self._stop.is_set():
            try:
                self._go_on()
                tasks = self._claim()
                self._held = {task.id: task for task in tasks}
                if tasks:
                    self._work(tasks)
                else:
                    self._stop.wait(self._poll_s)
            except StoreError as error:
                self._rest(str(error))
        self._engine.close()

    def end_grace(self) -> None:
        """End the current batch at once; its tasks are given back."""
        self._grace_over.set()
        self._engine.kill()

    def settle(self) -> None:
        """Give back the owed tasks.

        Raises:
            CatalogError: the database is not available.
        """
        if self._owed:
            self._leases.give_back(self._worker, self._owed)
            self._owed = set()

    def _go_on(self) -> None:
        """Give back the owed tasks; a paused loop goes on only if the storage works.

        Raises:
            StoreError: the storage does not work.
        """
        self.settle()
        self._held = {}
        if self.pause:
            probe(self._store)
            log.warning("worker %s goes on after %.1f s", self._worker, self.paused_s)
            self.pause = ""
            self._beat()

    def _work(self, tasks: list[T]) -> None:
        before, began = self.done, time.monotonic()
        try:
            for task, fault in isolate(tasks, self._run):
                if fault is not None:
                    log.warning("task %s, attempt %d: %s", task.id, task.attempts, fault)
                    retry = not isinstance(fault, InputFault)
                    self._leases.fail(task.id, self._worker, str(fault), retry=retry)
                del self._held[task.id]
            self._backoff.reset()
        except _GraceOverError:
            log.warning("worker %s: grace period is over, %d tasks go back", self._worker, len(self._held))
            self._give_back()
        except StoreFault as fault:
            for held in list(self._held):
                self._leases.fail(held, self._worker, str(fault), retry=True)
            self._held = {}
            self._rest(str(fault))
        except (StartFault, OutageFault, StoreError) as fault:
            # No task is at fault: no attempt is counted.
            self._give_back()
            self._rest(str(fault))
        finally:
            seconds = time.monotonic() - began
            self.done = replace(
                self.done,
                batches=before.batches + 1,
                busy_s=before.busy_s + seconds,
                batch_tasks=self.done.tasks - before.tasks,
                batch_tokens=self.done.tokens - before.tokens,
                batch_s=seconds,
            )

    def _run(self, tasks: list[T], share: float) -> Iterator[T]:
        try:
            for task, completed in self._engine.run(tasks, share):
                if completed:
                    log.debug("done: task %s", task.id)
                    done = self.done
                    self.done = replace(done, tasks=done.tasks + 1, tokens=done.tokens + task.cost)
                else:
                    self._leases.give_back(self._worker, [task.id])
                yield task
        except Fault as fault:
            if self._grace_over.is_set():
                raise _GraceOverError from fault
            log.warning("worker %s: %d tasks met a fault: %s", self._worker, len(tasks), fault)
            raise

    def _give_back(self) -> None:
        """Give back tasks that did not fail, now or as soon as the database allows."""
        self._owed.update(self._held)
        try:
            self.settle()
            self._held = {}
        except StoreError as error:
            log.warning("worker %s: %d tasks go back later: %s", self._worker, len(self._held), error)

    def _rest(self, why: str) -> None:
        self._leases.put_off_sweep()
        if not self.pause:
            self._paused_at = time.monotonic()
        self.pause = why
        log.error("worker %s pauses: %s", self._worker, why)
        with suppress(StoreError):
            self._beat()
        self._backoff.wait()
