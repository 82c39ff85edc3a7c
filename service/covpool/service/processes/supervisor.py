"""Supervisor: keeps worker processes alive beside the API; loads nothing that they load."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass

from covpool.service.queue import TaskLeases, Workers
from covpool.service.settings import Settings
from covpool.store.errors import StoreError

log = logging.getLogger(__name__)

#: Seconds before a worker that died is started again; doubled while it keeps dying young.
RESTART_S = 0.5
LONGEST_RESTART_S = 10.0
YOUNG_S = 10.0
#: Seconds for a worker to put its tasks back, after its time of grace.
LEAVE_S = 5.0


@dataclass
class _Child:
    name: str
    process: "subprocess.Popen[bytes]"
    started: float


class Supervisor:
    """Starts `settings.workers` processes and replaces those that die."""

    def __init__(self, settings: Settings, leases: TaskLeases, workers: Workers) -> None:
        self._settings, self._leases, self._workers = settings, leases, workers
        self._stop = threading.Event()
        # Held while a worker is started, so that none is started behind `stop`.
        self._starting = threading.Lock()
        self._children: list[_Child | None] = [None] * settings.workers
        self._threads = [
            threading.Thread(target=self._keep, args=(slot,), name=f"supervisor-{slot}", daemon=True)
            for slot in range(settings.workers)
        ]

    def start(self) -> None:
        """Start the workers and the threads that watch them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each worker finish its batch, within the time of grace; kill what is left after it."""
        with self._starting:
            self._stop.set()
        for child in filter(None, self._children):
            child.process.terminate()
        deadline = time.monotonic() + self._settings.drain_s + LEAVE_S
        for child in filter(None, self._children):
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker %s did not stop in time; killed", child.name)
                child.process.kill()
                child.process.wait()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> int:
        """Workers running now."""
        return sum(child is not None and child.process.poll() is None for child in self._children)

    def _keep(self, slot: int) -> None:
        pause = RESTART_S
        while True:
            with self._starting:
                if self._stop.is_set():
                    return
                child = self._children[slot] = self._spawn()
            code = child.process.wait()
            self._forget(child)
            if self._stop.is_set():
                return
            young = time.monotonic() - child.started < YOUNG_S
            pause = min(2 * pause, LONGEST_RESTART_S) if young else RESTART_S
            log.warning("worker %s ended with code %d; next one in %.1f s", child.name, code, pause)
            self._stop.wait(pause)

    def _forget(self, child: _Child) -> None:
        """Free the tasks of a worker that has ended, so that another takes over at once."""
        try:
            self._leases.release(child.name)
            self._workers.leave(child.name)
        except StoreError as error:
            # Its leases run out by themselves; the next worker must be started whatever happens.
            log.warning("worker %s: its tasks stay leased: %s", child.name, error)

    def _spawn(self) -> _Child:
        name = f"{os.uname().nodename}-{uuid.uuid4().hex[:8]}"
        # The worker reads its standard input to learn of our end; nothing is ever written to it.
        process = subprocess.Popen(
            [sys.executable, "-m", "covpool.service.worker", name],
            stdin=subprocess.PIPE,
            env=settings_environment(self._settings),
            # An interrupt typed at the terminal is for us; we drain the workers.
            start_new_session=True,
        )
        return _Child(name, process, time.monotonic())


def settings_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings as variables, for a process that reads them again."""
    given = settings.model_dump(mode="json", exclude_none=True)
    return os.environ | {f"COVPOOL_{field.upper()}": _as_variable(value) for field, value in given.items()}


def _as_variable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
