"""Supervisor: keeps worker processes of the API alive; it loads no model."""

import logging
import os
import threading
import time
import uuid

from covpool.service.processes.child import Child
from covpool.service.queue import TaskLeases, Workers
from covpool.service.settings import Settings
from covpool.store.errors import StoreError

log = logging.getLogger(__name__)

#: Seconds before a dead worker is started again; doubled while workers die soon after their start.
RESTART_S = 0.5
LONGEST_RESTART_S = 10.0
YOUNG_S = 10.0
#: Seconds for a worker to give back its tasks after the grace period.
LEAVE_S = 5.0


class Supervisor:
    """Starts `settings.workers` processes and replaces those that die."""

    def __init__(self, settings: Settings, leases: TaskLeases, workers: Workers) -> None:
        self._settings, self._leases, self._workers = settings, leases, workers
        self._stop = threading.Event()
        # Held while a worker is started, so that none is started after `stop`.
        self._starting = threading.Lock()
        self._children: dict[str, Child] = {}
        self._threads = [
            threading.Thread(target=self._keep, name=f"supervisor-{number}", daemon=True)
            for number in range(settings.workers)
        ]

    def start(self) -> None:
        """Start the workers and the threads that watch them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each worker finish its batch within the grace period; kill those that remain."""
        with self._starting:
            self._stop.set()
        children = dict(self._children)
        for child in children.values():
            child.terminate()
        deadline = time.monotonic() + self._settings.drain_s + LEAVE_S
        for name, child in children.items():
            if child.wait(max(0.1, deadline - time.monotonic())) is None:
                log.warning("worker %s did not stop in time; killed", name)
                child.kill()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> int:
        """Number of running workers."""
        return sum(child.alive for child in list(self._children.values()))

    def _keep(self) -> None:
        pause = RESTART_S
        while True:
            name = f"{os.uname().nodename}-{uuid.uuid4().hex[:8]}"
            with self._starting:
                if self._stop.is_set():
                    return
                child = Child("covpool.service.worker", name, settings=self._settings)
                self._children[name] = child
            started = time.monotonic()
            code = child.wait()
            child.close()
            del self._children[name]
            self._forget(name)
            if self._stop.is_set():
                return
            young = time.monotonic() - started < YOUNG_S
            pause = min(2 * pause, LONGEST_RESTART_S) if young else RESTART_S
            log.warning("worker %s ended with code %d; next one in %.1f s", name, code, pause)
            self._stop.wait(pause)

    def _forget(self, worker: str) -> None:
        """Free the tasks of a worker that has ended, so that another takes over at once."""
        try:
            self._leases.release(worker)
            self._workers.leave(worker)
        except StoreError as error:
            # Its leases expire by themselves; the next worker must start in any case.
            log.warning("worker %s: its tasks stay leased: %s", worker, error)
