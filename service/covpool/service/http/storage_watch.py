"""Storage watch: whether the arrays can be read and written now, and since when not; used by readiness.

Reading is tested at every call. To test writing, an object is written and removed; the result is kept for a
short time.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from covpool.store.arrays.schema import ARRAYS
from covpool.store.errors import CatalogError, OutdatedCatalogError, StorageError, StoreError
from covpool.store.outages import probe
from covpool.store.store import Store

log = logging.getLogger(__name__)

#: Seconds for which the result of the write test is kept.
HOLDS_S = 2.0
#: Seconds without an answer after which the storage counts as not available.
ANSWER_S = 7.0

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outage:
    """What is away, full or read-only, in a form that is safe to publish: no paths and no addresses.

    Attributes:
        what: the storage and its problem.
        since: when the problem was noticed, UTC.
    """

    what: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.what}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class StorageWatch:
    """The state of one store's arrays.

    Args:
        store: the store of the arrays.
        write: whether the arrays have to be writable; not where only cached results are served.
    """

    def __init__(self, store: Store, *, write: bool) -> None:
        self._store, self._write = store, write
        self._outage: Outage | None = None
        # Why they cannot be written, and when that was tested.
        self._writable: str | None = _UNKNOWN
        self._probed = 0.0
        self._began: float | None = None
        self._lock = threading.Lock()

    def look(self) -> Outage | None:
        """The present outage; None without one."""
        with self._lock:
            if self._began is not None:
                if time.monotonic() > self._began + ANSWER_S:
                    self._report("store: does not answer")
                return self._outage
            self._began = time.monotonic()
        what = self._unread() or (self._unwritten() if self._write else None)
        with self._lock:
            self._began = None
            self._report(what)
            return self._outage

    def _report(self, what: str | None) -> None:
        if what is None:
            if self._outage is not None:
                log.warning("storage works again: %s is over", self._outage)
            self._outage = None
        elif self._outage is None:
            self._outage = Outage(what, datetime.now(UTC))
            log.error("storage: %s", self._outage)
        else:
            self._outage = Outage(what, self._outage.since)

    def _unread(self) -> str | None:
        try:
            present = self._store.objects.read(f"{ARRAYS}/zarr.json") is not None
        except (StoreError, OSError) as error:
            return f"store: {_reason(error)}"
        return None if present else "store: its arrays are gone"

    def _unwritten(self) -> str | None:
        now = time.monotonic()
        if self._writable == _UNKNOWN or now > self._probed + HOLDS_S:
            self._writable, self._probed = self._refused(), now
        return self._writable

    def _refused(self) -> str | None:
        try:
            probe(self._store)
        except OutdatedCatalogError:
            return "store: its catalog is older than its arrays, read-only until covpool store rebuild"
        except CatalogError as error:
            return f"database: {type(error.__cause__).__name__}"
        except StoreError as error:
            return f"store: {_reason(error)}"
        return None


def _reason(error: BaseException) -> str:
    """The system's message, without paths or addresses."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        link = link.__cause__
    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    return type(cause).__name__
