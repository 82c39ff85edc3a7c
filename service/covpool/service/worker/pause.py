"""Pause: a worker waits while its storage or database is away, full or read-only, and goes on by itself.

Tasks it holds by then are given back without counting an attempt, as soon as the database takes that.
"""

import logging
import threading
import time
from collections.abc import Iterable

from covpool.service.queue import TaskLeases

log = logging.getLogger(__name__)

#: Seconds to wait before it is tried again; doubled while that fails.
FIRST_S = 0.5
#: Well below a lease, so that tasks are given back before another worker takes them for abandoned.
LONGEST_S = 5.0


class Pause:
    """Whether a worker waits, why, and what it owes the queue.

    Args:
        worker: its name.
        leases: by which tasks go back.
        stop: ends every wait.

    Attributes:
        why: what it waits for; "" while it works.
    """

    def __init__(self, worker: str, leases: TaskLeases, stop: threading.Event) -> None:
        self._worker, self._leases, self._stop = worker, leases, stop
        self._owed: set[str] = set()
        self._since = 0.0
        self._next_s = FIRST_S
        self.why = ""

    @property
    def seconds(self) -> float:
        """For how long it has waited."""
        return time.monotonic() - self._since if self.why else 0.0

    @property
    def owed(self) -> frozenset[str]:
        """Tasks that are to go back; their leases are renewed until then."""
        return frozenset(self._owed)

    def begin(self, why: str) -> None:
        """Wait from now on."""
        if not self.why:
            self._since = time.monotonic()
        self.why = why
        log.error("worker %s pauses: %s", self._worker, why)

    def rest(self) -> None:
        """Wait for a while, longer every time."""
        self._stop.wait(self._next_s)
        self._next_s = min(2 * self._next_s, LONGEST_S)

    def end(self) -> None:
        """Work again; whether that lasts, the next batch tells."""
        if self.why:
            log.warning("worker %s goes on after %.1f s", self._worker, self.seconds)
        self.why = ""

    def worked(self) -> None:
        """A batch came to its end."""
        self._next_s = FIRST_S

    def owe(self, tasks: Iterable[str]) -> None:
        """These tasks came to no harm, and are to go back."""
        self._owed.update(tasks)

    def settle(self) -> None:
        """Give back what is owed.

        Raises:
            CatalogError: the database is away.
        """
        if self._owed:
            self._leases.give_back(self._worker, self._owed)
            self._owed = set()
