"""Scrub: read every stored byte from time to time, at a bounded rate, to find damage before it matters.

Checksums are compared and nothing is decoded, so that a pass needs little CPU time.
"""

import threading
import time
from collections.abc import Iterator

from covpool.store.arrays.rows import check_row
from covpool.store.catalog.entries import Entry
from covpool.store.errors import CorruptEntryError
from covpool.store.maintenance.verify import Checked, Problem, repaired
from covpool.store.opened import OpenedStore

_BATCH = 256


def scrub(
    store: OpenedStore,
    *,
    rate: float,
    after: str = "",
    repair: bool = True,
    stop: threading.Event | None = None,
) -> Iterator[Checked]:
    """Read every ready row in key order; keys after `after` that are put in the meantime are read too.

    Args:
        store: the store; others may use it at the same time.
        rate: bytes per second, over the whole pass and any part of it.
        after: begin after this key.
        repair: retire damaged rows, and make other complete rows of their keys ready; see `healing`.
        stop: set to end the pass early.

    Yields:
        After each key, how far it has come.

    Raises:
        StorageError, CatalogError: storage or database is not available, which is no damage.
        ValueError: the rate is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"a rate of {rate:g} bytes per second reads nothing; give one above 0")
    ended = stop or threading.Event()
    entries = read = 0
    due = time.monotonic()
    while batch := store.catalog.entries(after=after, limit=_BATCH):
        for entry in batch:
            if ended.is_set():
                return
            size, problem = _read(store, entry, repair)
            after, entries, read = entry.key, entries + 1, read + size
            yield Checked(after, entries, (problem,) if problem else (), read)
            # Lost time is not made up for, so that the rate holds for every second.
            due = max(due, time.monotonic() - size / rate) + size / rate
            ended.wait(max(0.0, due - time.monotonic()))


def _read(store: OpenedStore, entry: Entry, repair: bool) -> tuple[int, Problem | None]:
    """Bytes read of an entry, and what is wrong with it."""
    try:
        row = store.arrays_of(entry.place).row(entry.row)
        if row is None:
            raise CorruptEntryError(f"{entry.key}: a chunk of row {entry.row} is missing")
        size = sum(map(len, (row.record, row.mean, row.second_moment)))
        if check_row(row).key == entry.key:
            return size, None
        fault = f"{entry.key}: row {entry.row} holds another key"
    except CorruptEntryError as error:
        size, fault = 0, str(error)
    current = store.catalog.find(entry.key)
    if current is None or current.place != entry.place:
        # Replaced and deleted in the meantime; the new row was written after this pass began.
        return size, None
    return size, repaired(store, entry.key) if repair else Problem(entry.key, fault)
