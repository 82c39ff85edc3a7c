"""Worker: claims tasks, lets its child run them, and renews their leases; one worker uses one device.

This process loads no model, so it is small and survives the death of its child. A worker that the supervisor
started stops when its parent is gone, for whatever reason.
"""

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from covpool.service import logs
from covpool.service.opening import open_chosen
from covpool.service.processes.faults import Fault, InputFault, OutageFault, StartFault, StoreFault
from covpool.service.processes.isolation import isolate
from covpool.service.processes.messages import Messages
from covpool.service.queue import FitTask, Leased, Task, TaskLeases, Workers, WorkerState
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.service.worker.fit_engine import FitEngine
from covpool.service.worker.pause import Pause
from covpool.service.worker.task_engine import TaskEngine
from covpool.store.errors import StoreError
from covpool.store.outages import probe
from covpool.store.store import Store

log = logging.getLogger(__name__)

#: Heartbeats in the time of a lease.
BEATS = 6


class _GraceOverError(Exception):
    """The worker has to stop, and its batch took longer than the grace period."""


class Worker:
    """The claim → run → settle loop.

    Args:
        settings: of the service; the child is given the same.
        store: the store; the database of its catalog holds the queue.
        name: the name under which tasks are leased; a random one by default.
    """

    def __init__(self, settings: Settings, store: Store, *, name: str | None = None) -> None:
        self._store = store
        self.name = name or f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._leases = TaskLeases(
            store.database, lease_s=settings.lease_s, max_attempts=settings.max_attempts
        )
        self._workers = Workers(store.database, lease_s=settings.lease_s)
        self._served = Served.read(settings.models)
        # All weights served so far: a task of replaced weights must be refused and not wait.
        self._weights = dict[str, None]()
        self._engine = TaskEngine(self.name, settings, store, self._served)
        self._fits = FitEngine(self.name, settings, store.database)
        self._stop = threading.Event()
        self._grace_over = threading.Event()
        # Tasks leased now, by id; this worker renews their leases.
        self._held: dict[str, Leased] = {}
        # What it reports with every heartbeat, except for its device.
        self._done = WorkerState(self.name)
        self._pause = Pause(self.name, self._leases, self._stop)

    def stop(self) -> None:
        """Finish the current batch within the grace period, then leave `run`."""
        if not self._stop.is_set():
            self._stop.set()
            timer = threading.Timer(self._settings.drain_s, self._end_grace)
            timer.daemon = True
            timer.start()

    def run(self) -> None:
        """Work until `stop` is called."""
        self._leases.put_off_sweep()
        # Loading torch takes seconds: start before the first task waits.
        self._engine.start()
        with self._heartbeats():
            log.info("worker %s is ready", self.name)
            while not self._stop.is_set():
                try:
                    self._go_on()
                    tasks = self._claim()
                    if tasks:
                        self._work(tasks)
                    else:
                        self._stop.wait(self._settings.poll_s)
                except StoreError as error:
                    self._rest(str(error))
        self._engine.close()
        self._leave()

    def _go_on(self) -> None:
        """Give back the owed tasks; a paused worker goes on only if the storage works.

        Raises:
            StoreError: the storage does not work.
        """
        self._pause.settle()
        self._held = {}
        if self._pause.why:
            probe(self._store)
            self._pause.end()
            self._beat()

    def _claim(self) -> list[Leased]:
        self._weights |= {model.weights: None for model in self._served.current_models()}
        tasks = self._leases.claim(
            self.name,
            list(self._weights),
            tokens=self._settings.batch_tokens,
            count=self._settings.batch_records,
        )
        self._held = {task.id: task for task in tasks}
        return tasks

    def _work(self, tasks: list[Leased]) -> None:
        before, began = self._done, time.monotonic()
        try:
            for task, fault in isolate(tasks, self._run):
                if fault is not None:
                    self._fail(task, fault)
                del self._held[task.id]
            self._pause.worked()
        except _GraceOverError:
            log.warning("worker %s: grace period is over, %d tasks go back", self.name, len(self._held))
            self._give_back()
        except StoreFault as fault:
            for held in list(self._held):
                self._leases.fail(held, self.name, str(fault), retry=True)
            self._held = {}
            self._rest(str(fault))
        except (StartFault, OutageFault, StoreError) as fault:
            # No task is at fault: no attempt is counted.
            self._give_back()
            self._rest(str(fault))
        finally:
            seconds = time.monotonic() - began
            self._done = replace(self._done, batches=before.batches + 1, busy_s=before.busy_s + seconds)
            if not isinstance(tasks[0], FitTask):
                # A fit says nothing about the rate of tokens.
                self._done = replace(
                    self._done,
                    batch_tasks=self._done.tasks - before.tasks,
                    batch_tokens=self._done.tokens - before.tokens,
                    batch_s=seconds,
                )

    def _computed(self, tasks: list[Leased], share: float) -> Iterator[tuple[Leased, bool]]:
        if isinstance(tasks[0], FitTask):
            yield tasks[0], self._fits.run(tasks[0])
        else:
            yield from self._engine.run([task for task in tasks if isinstance(task, Task)], share)

    def _run(self, tasks: list[Leased], share: float) -> Iterator[Leased]:
        try:
            for task, completed in self._computed(tasks, share):
                if completed:
                    log.debug("done: task %s", task.id)
                    done = self._done
                    self._done = replace(done, tasks=done.tasks + 1, tokens=done.tokens + task.cost)
                else:
                    self._leases.give_back(self.name, [task.id])
                yield task
        except Fault as fault:
            if self._grace_over.is_set():
                raise _GraceOverError from fault
            log.warning("worker %s: %d tasks met a fault: %s", self.name, len(tasks), fault)
            raise

    def _fail(self, task: Leased, fault: Fault) -> None:
        log.warning("task %s, attempt %d: %s", task.id, task.attempts, fault)
        self._leases.fail(task.id, self.name, str(fault), retry=not isinstance(fault, InputFault))

    def _give_back(self) -> None:
        """Give back tasks that did not fail, now or as soon as the database allows."""
        self._pause.owe(self._held)
        try:
            self._pause.settle()
            self._held = {}
        except StoreError as error:
            log.warning("worker %s: %d tasks go back later: %s", self.name, len(self._held), error)

    def _rest(self, why: str) -> None:
        self._leases.put_off_sweep()
        self._pause.begin(why)
        with suppress(StoreError):
            self._beat()
        self._pause.rest()

    def _end_grace(self) -> None:
        self._grace_over.set()
        self._engine.kill()
        self._fits.kill()

    def _leave(self) -> None:
        try:
            self._pause.settle()
            self._workers.leave(self.name)
        except StoreError as error:
            log.warning("worker %s could not sign off: %s", self.name, error)

    @contextmanager
    def _heartbeats(self) -> Iterator[None]:
        """Renew the leases in a separate thread while the body runs: a forward may take long."""
        over = threading.Event()

        def loop() -> None:
            while True:
                try:
                    self._beat()
                except StoreError as error:
                    self._leases.put_off_sweep()
                    log.warning("worker %s: no heartbeat: %s", self.name, error)
                if over.wait(self._settings.lease_s / BEATS):
                    return

        thread = threading.Thread(target=loop, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self) -> None:
        tokens = self._engine.tokens
        progress = {task: tokens.get(task, 0) for task in list(self._held)}
        if progress:
            dropped = self._leases.heartbeat(self.name, progress)
            self._engine.drop(dropped)
            self._fits.drop(dropped)
        device = self._engine.device
        self._workers.announce(
            replace(
                self._done,
                device=device.name,
                memory_used=device.memory_used,
                memory_total=device.memory_total,
                paused=self._pause.why,
                paused_s=self._pause.seconds,
            )
        )


def main(name: str | None = None, *, supervised: bool = False) -> None:
    """Run a worker under the settings of the environment until SIGTERM, SIGINT or the parent's end."""
    settings = Settings.read()
    logs.configure(settings)
    with open_chosen(settings) as store:
        worker = Worker(settings, store, name=name)

        def on_signal(_: int, __: FrameType | None) -> None:
            worker.stop()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        if supervised:
            threading.Thread(target=_stop_with_parent, args=(worker,), daemon=True).start()
        worker.run()


def _stop_with_parent(worker: Worker) -> None:
    for _ in Messages.of_parent().receive():
        pass
    worker.stop()
