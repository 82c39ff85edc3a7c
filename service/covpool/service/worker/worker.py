"""Worker: runs leased extractions and fits in two child processes, and renews the leases; it uses one device.

A fit runs beside the extraction. This process loads no model, so it is small and survives the death of a
child. A worker that the supervisor started stops when its parent is gone, for whatever reason.
"""

import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from covpool.service import logs
from covpool.service.processes.child import Messages
from covpool.service.queue import FitTask, Task, TaskLeases, Workers
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.service.worker.claim_loop import ClaimLoop
from covpool.service.worker.fit_engine import FitEngine
from covpool.service.worker.task_engine import TaskEngine
from covpool.store.errors import StoreError
from covpool.store.store import Store

log = logging.getLogger(__name__)

#: Heartbeats in the time of a lease.
BEATS = 6
#: Seconds between two looks for a fit; fits are rare and take seconds.
FIT_POLL_S = 0.5


class Worker:
    """Two claim loops, of extractions and of fits, under one name.

    Args:
        settings: of the service; the children are given the same.
        store: the store; the database of its catalog holds the queue.
        name: the name under which tasks are leased; a random one by default.
    """

    def __init__(self, settings: Settings, store: Store, *, name: str | None = None) -> None:
        self.name = name or f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._leases = TaskLeases(
            store.database, lease_s=settings.lease_s, max_attempts=settings.max_attempts
        )
        self._workers = Workers(store.database, lease_s=settings.lease_s)
        self._served = Served.read(settings.models)
        # All weights served so far: a task of replaced weights must be refused and not wait.
        self._weights = dict[str, None]()
        self._stop = threading.Event()
        self._engine = TaskEngine(self.name, settings, store, self._served)
        self._fit_engine = FitEngine(self.name, settings, store.database)
        common = self.name, store, self._leases
        self._extractions = ClaimLoop[Task](
            *common, self._claim, self._engine, self._stop, settings.poll_s, self._beat
        )
        self._fits = ClaimLoop[FitTask](
            *common,
            lambda: self._leases.claim_fit(self.name),
            self._fit_engine,
            self._stop,
            FIT_POLL_S,
            self._beat,
        )

    def stop(self) -> None:
        """Finish the current tasks within the grace period, then leave `run`."""
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
        with self._heartbeats(), ThreadPoolExecutor(1, thread_name_prefix="fits") as pool:
            log.info("worker %s is ready", self.name)
            fits = pool.submit(self._run, self._fits)
            self._run(self._extractions)
            fits.result()
        try:
            self._extractions.settle()
            self._fits.settle()
            self._workers.leave(self.name)
        except StoreError as error:
            log.warning("worker %s could not sign off: %s", self.name, error)

    def _run(self, loop: ClaimLoop[Task] | ClaimLoop[FitTask]) -> None:
        try:
            loop.run()
        finally:
            # If a loop ends by an error, the worker ends: its leases must not be renewed for ever.
            self.stop()

    def _claim(self) -> list[Task]:
        self._weights |= {model.weights: None for model in self._served.current_models()}
        return self._leases.claim(
            self.name,
            list(self._weights),
            tokens=self._settings.batch_tokens,
            count=self._settings.batch_records,
        )

    def _end_grace(self) -> None:
        self._extractions.end_grace()
        self._fits.end_grace()

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
        progress = self._extractions.progress | self._fits.progress
        if progress:
            dropped = self._leases.heartbeat(self.name, progress)
            self._engine.drop(dropped)
            self._fit_engine.drop(dropped)
        device = self._engine.device
        done = self._extractions.done
        paused = self._extractions if self._extractions.pause else self._fits
        self._workers.announce(
            replace(
                done,
                # Fits use no device: they count as tasks and not as batches.
                tasks=done.tasks + self._fits.done.tasks,
                device=device.name,
                memory_used=device.memory_used,
                memory_total=device.memory_total,
                paused=paused.pause,
                paused_s=paused.paused_s,
            )
        )


def main(name: str | None = None, *, supervised: bool = False) -> None:
    """Run a worker under the settings of the environment until SIGTERM, SIGINT or the parent's end."""
    settings = Settings.read()
    logs.configure(settings)
    with settings.open_store() as store:
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
