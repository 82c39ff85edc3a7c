"""Storage watch: whether the arrays can be read and written now, and since when not; asked by readiness.

Whether they can be read is looked at every time. To see whether they can be written an object is written and
removed, which is not repeated for everybody who asks.
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

#: Seconds for which it is known whether they can be written.
HOLDS_S = 2.0
#: Seconds after which a storage that does not answer is taken to be away.
ANSWER_S = 7.0

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outage:
    """What is away, full or read-only, as strangers may read it: no paths and no addresses.

    Attributes:
        what: which storage, and what is wrong with it.
        since: when it was noticed, UTC.
    """

    what: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.what}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class StorageWatch:
    """The state of one store's arrays.

    Args:
        store: whose arrays.
        write: whether they have to be writable: not where only what is cached is served.
    """

    def __init__(self, store: Store, *, write: bool) -> None:
        self._store, self._write = store, write
        self._found: Outage | None = None
        # What keeps them from being written; and when that was seen.
        self._writable: str | None = _UNKNOWN
        self._probed = 0.0
        self._began: float | None = None
        self._lock = threading.Lock()

    def look(self) -> Outage | None:
        """What is wrong now; None while all is well."""
        with self._lock:
            if self._began is not None:
                if time.monotonic() > self._began + ANSWER_S:
                    self._tell("store: does not answer")
                return self._found
            self._began = time.monotonic()
        what = self._unread() or (self._unwritten() if self._write else None)
        with self._lock:
            self._began = None
            self._tell(what)
            return self._found

    def _tell(self, what: str | None) -> None:
        if what is None:
            if self._found is not None:
                log.warning("storage works again: %s is over", self._found)
            self._found = None
        elif self._found is None:
            self._found = Outage(what, datetime.now(UTC))
            log.error("storage: %s", self._found)
        else:
            self._found = Outage(what, self._found.since)

    def _unread(self) -> str | None:
        try:
            there = self._store.objects.read(f"{ARRAYS}/zarr.json") is not None
        except (StoreError, OSError) as error:
            return f"store: {_reason(error)}"
        return None if there else "store: its arrays are gone"

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
    """What the system said, without what was asked for."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__
    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    return type(cause).__name__
