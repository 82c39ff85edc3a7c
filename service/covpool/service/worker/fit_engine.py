"""Fit engine: runs a leased fit in its own process; the file goes into the database as the task ends."""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping

from covpool.service.errors import LeaseLostError
from covpool.service.fitting.fits import keep_file
from covpool.service.processes.child import Child
from covpool.service.processes.faults import DeathFault, Fault, UnforeseenFault
from covpool.service.queue import FitTask
from covpool.service.queue.leases import finish_task
from covpool.service.settings import Settings
from covpool.store.database.database import Database

log = logging.getLogger(__name__)


class FitEngine:
    """Runs one fit at a time, each in a new process.

    Args:
        worker: the name under which tasks are leased.
        settings: of the service.
        database: of the queue.
    """

    #: A fit runs no model.
    tokens: Mapping[str, int] = {}

    def __init__(self, worker: str, settings: Settings, database: Database) -> None:
        self._worker, self._settings, self._database = worker, settings, database
        self._running: tuple[str, Child] | None = None
        self._dropped: set[str] = set()
        self._over = threading.Event()

    def run(self, tasks: list[FitTask], share: float) -> Iterator[tuple[FitTask, bool]]:
        """See `Engine.run`; fits are claimed one by one, and `share` does not concern them."""
        (task,) = tasks
        child = Child("covpool.service.fitting.fit_program", settings=self._settings)
        self._running = task.id, child
        try:
            if self._over.is_set():
                child.kill()
            child.messages.send(task.request)
            answer = next(child.messages.receive(), ())
        finally:
            self._running = None
            code = child.close()
        match answer:
            case _ if task.id in self._dropped:
                yield task, False
            case "file", bytes() as file:
                yield task, self._end(task, file)
            case "fault", Fault() as fault:
                raise fault
            case _:
                # The fit is tried again unchanged, but as another attempt: it may have run for hours.
                raise UnforeseenFault(str(DeathFault(code)))

    def drop(self, tasks: Collection[str]) -> None:
        """End the running fit if it is one of these tasks."""
        running = self._running
        if running is not None and running[0] in tasks:
            self._dropped.add(running[0])
            running[1].kill()

    def kill(self) -> None:
        """End the running fit at once, and every fit that starts from now on."""
        self._over.set()
        running = self._running
        if running is not None:
            running[1].kill()

    def close(self) -> None:
        """Nothing is left to be closed: the process of a fit ends with it."""

    def _end(self, task: FitTask, file: bytes) -> bool:
        try:
            with self._database.writing() as connection:
                finish_task(connection, task.id, self._worker)
                keep_file(connection, task.request["name"], file)
        except LeaseLostError as lost:
            log.info("%s", lost)
            return False
        return True
