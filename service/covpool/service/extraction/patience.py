"""Patience: work waits while its storage is away, full or read-only, and then goes on by itself."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TypeVar

from covpool.service.processes.faults import Fault, InputFault, OutageFault
from covpool.service.processes.isolation import isolate
from covpool.store.errors import InvalidMomentsError, StoreError
from covpool.store.outages import is_outage, probe
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)

#: Seconds before the next try; doubled after every failure, up to the longest.
FIRST_S = 0.5
#: Well below a lease, so that a worker gives back its tasks before their leases expire.
LONGEST_S = 5.0

Row = tuple[MomentsKey, Moments]
T = TypeVar("T")


class Backoff:
    """Waits that become longer.

    Args:
        stop: ends every wait.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._next_s = stop, FIRST_S

    def wait(self) -> bool:
        """Wait, longer each time; True if `stop` was set."""
        stopped = self._stop.wait(self._next_s)
        self._next_s = min(2 * self._next_s, LONGEST_S)
        return stopped

    def reset(self) -> None:
        """The next wait is short."""
        self._next_s = FIRST_S


def patiently(store: Store, act: Callable[[], T], over: threading.Event) -> T:
    """The result of `act`, which is tried again while the storage is out and `over` is not set.

    Raises:
        StoreError: for another reason than an outage, or once `over` is set.
        OutageFault: once `over` is set.
    """
    backoff, logged = Backoff(over), False
    while True:
        try:
            return act()
        except (StoreError, OutageFault) as error:
            if over.is_set() or (isinstance(error, StoreError) and not is_outage(error)):
                raise
            if not logged:
                log.warning("paused, goes on by itself: %s", error)
            logged = True
        while not backoff.wait() and works(store) is not None:
            pass


def works(store: Store) -> StoreError | None:
    """The error of a probe of the storage; None if it works."""
    try:
        probe(store)
    except StoreError as error:
        return error
    return None


def settle(
    store: Store,
    items: Iterable[T],
    compute: Callable[[list[T], float], list[Row]],
    over: threading.Event,
    *,
    replace: bool = False,
    on_put: Callable[[list[Row]], None] = lambda rows: None,
) -> Iterator[tuple[T, Fault | None]]:
    """Each item when its results are in the store, or with its own fault.

    Args:
        store: where the results go.
        items: items to compute together.
        compute: returns the results of items; its second argument is the share of the usual memory.
        over: ends every wait when it is set.
        replace: replace stored results that have other bits.
        on_put: called with the rows that were put.

    Raises:
        OutsideFault, StoreError: no item is at fault.
    """

    def run(batch: list[T], share: float) -> list[T]:
        rows = patiently(store, partial(compute, batch, share), over)
        patiently(store, partial(_put, store, rows, replace=replace), over)
        on_put(rows)
        return batch

    return isolate(items, run)


def _put(store: Store, rows: list[Row], *, replace: bool) -> None:
    try:
        store.put_many(rows, replace=replace)
    except (InvalidMomentsError, MemoryError) as error:
        raise InputFault(str(error) or "out of memory") from error


class OutageLines:
    """Reports when a run is paused by its storage, and when it goes on.

    Args:
        store: probed from time to time.
        write: called with a line of text.
    """

    def __init__(self, store: Store, write: Callable[[str], None]) -> None:
        self._store, self._write = store, write
        self._looked = time.monotonic()
        self._since: float | None = None

    def look(self) -> None:
        """Probe the storage, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._looked + (LONGEST_S if self._since is None else FIRST_S):
            return
        error = works(self._store)
        self._looked = time.monotonic()
        if error is not None and self._since is None:
            self._since = now
            self._write(f"paused since {datetime.now():%H:%M:%S}, goes on by itself: {error}")
        elif error is None:
            self.end()

    def end(self) -> None:
        """Report that the run goes on, if it was paused."""
        if self._since is not None:
            self._write(f"goes on after {time.monotonic() - self._since:.0f} s: the storage works again")
        self._since = None
