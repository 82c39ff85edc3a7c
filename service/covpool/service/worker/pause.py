"""Pause: a worker waits while its storage or database is away, full or read-only, and goes on by itself.

The tasks that it holds are given back without counting an attempt, as soon as the database allows.
"""

import logging
import threading
import time
from collections.abc import Iterable

from covpool.service.queue import TaskLeases

log = logging.getLogger(__name__)

#: Seconds before the next try; doubled after every failure, up to the longest.
FIRST_S = 0.5
#: Well below a lease, so that tasks are given back before their leases expire.
LONGEST_S = 5.0


class Pause:
    """Whether a worker waits, why, and which tasks it has to give back.

    Args:
        worker: name of the worker.
        leases: leases of the tasks to give back.
        stop: ends every wait.

    Attributes:
        why: reason of the pause; "" while the worker works.
    """

    def __init__(self, worker: str, leases: TaskLeases, stop: threading.Event) -> None:
        self._worker, self._leases, self._stop = worker, leases, stop
        self._owed: set[str] = set()
        self._since = 0.0
        self._next_s = FIRST_S
        self.why = ""

    @property
    def seconds(self) -> float:
        """Seconds since the pause began; 0 while the worker works."""
        return time.monotonic() - self._since if self.why else 0.0

    @property
    def owed(self) -> frozenset[str]:
        """Tasks to give back; their leases are renewed until then."""
        return frozenset(self._owed)

    def begin(self, why: str) -> None:
        """Begin a pause."""
        if not self.why:
            self._since = time.monotonic()
        self.why = why
        log.error("worker %s pauses: %s", self._worker, why)

    def rest(self) -> None:
        """Wait for a while, longer each time."""
        self._stop.wait(self._next_s)
        self._next_s = min(2 * self._next_s, LONGEST_S)

    def end(self) -> None:
        """End the pause; the next batch shows whether the storage works."""
        if self.why:
            log.warning("worker %s goes on after %.1f s", self._worker, self.seconds)
        self.why = ""

    def worked(self) -> None:
        """Reset the wait after a finished batch."""
        self._next_s = FIRST_S

    def owe(self, tasks: Iterable[str]) -> None:
        """Add tasks to give back that did not fail."""
        self._owed.update(tasks)

    def settle(self) -> None:
        """Give back the owed tasks.

        Raises:
            CatalogError: the database is not available.
        """
        if self._owed:
            self._leases.give_back(self._worker, self._owed)
            self._owed = set()
