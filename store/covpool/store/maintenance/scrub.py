"""Scrub: every stored byte read now and then at a bounded rate, so that damage is found before it is needed.

Checksums are compared and nothing is decoded: a pass costs the processor little.
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
    """Read every ready row in key order; what is put meanwhile behind `after` is read too.

    Args:
        store: the store; others may read, write and sweep it.
        rate: bytes per second, over the whole pass and any part of it.
        after: begin behind this key.
        repair: retire rows that are damaged, and have other whole rows of their keys read; see `healing`.
        stop: set to end the pass early.

    Yields:
        After each key, how far it has come.

    Raises:
        StorageError, CatalogError: storage or database are away, which is no damage.
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
            # What was slow is not caught up with: no second has more than its share.
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
        # Replaced and swept meanwhile; the new row was written after this pass began.
        return size, None
    return size, repaired(store, entry.key) if repair else Problem(entry.key, fault)
