"""Verify: every checksum read, and the catalog compared with the arrays in both directions."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from covpool.store.arrays.layout import read_layout, some
from covpool.store.arrays.rows import check_row
from covpool.store.catalog.entries import Entry
from covpool.store.catalog.tables import RESERVED
from covpool.store.errors import CorruptEntryError, KeyNotFoundError
from covpool.store.maintenance.healing import heal
from covpool.store.opened import OpenedStore

#: Unfinished files and reservations are a problem only when they are this old.
LEFTOVER_AGE = timedelta(days=1)

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault in a store.

    Attributes:
        key: the key it concerns; "" for none.
        message: what is wrong, where, and what to do.
        healed: whether it was repaired: the key now reads back from another row.
    """

    key: str
    message: str
    healed: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """Progress of a verification or a scrub.

    Attributes:
        after: the last key that was read.
        entries: keys read so far, without those of the run that was resumed.
        problems: those since the last step.
        read: bytes read so far, by a scrub.
    """

    after: str
    entries: int
    problems: tuple[Problem, ...]
    read: int = 0


def verify_entries(
    store: OpenedStore, *, after: str = "", threads: int = 2, repair: bool = False
) -> Iterator[Checked]:
    """Read every ready entry back, in key order.

    Args:
        store: the store.
        after: begin after this key, to resume an earlier run.
        threads: matrices decoded at once; each holds one full matrix.
        repair: retire damaged rows, and make other complete rows of their keys ready (see `healing`).

    Yields:
        The progress after each batch.

    Raises:
        StorageError: the storage cannot be reached, which is no damage.
        OutdatedCatalogError: something is to be repaired, and the store is read-only until a rebuild.
    """
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for batch in store.catalog.batches(after, size=_BATCH):
            checked = pool.map(lambda entry: check(store, entry, repair=repair), batch)
            done += len(batch)
            yield Checked(batch[-1].key, done, tuple(problem for problem in checked if problem))


def scrub(
    store: OpenedStore,
    *,
    rate: float,
    after: str = "",
    repair: bool = True,
    stop: threading.Event | None = None,
) -> Iterator[Checked]:
    """Read every ready row in key order, at a bounded rate, to find damage before it matters.

    Checksums are compared and nothing is decoded, so that a pass needs little CPU time. Keys that are put in
    the meantime and come later in the order are read too.

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
    for entry in chain.from_iterable(store.catalog.batches(after, size=_BATCH)):
        if ended.is_set():
            return
        size, problem = _scrubbed(store, entry, repair)
        entries, read = entries + 1, read + size
        yield Checked(entry.key, entries, (problem,) if problem else (), read)
        # Lost time is not made up for, so that the rate holds for every second.
        due = max(due, time.monotonic() - size / rate) + size / rate
        ended.wait(max(0.0, due - time.monotonic()))


def _scrubbed(store: OpenedStore, entry: Entry, repair: bool) -> tuple[int, Problem | None]:
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


def verify_rows(store: OpenedStore, *, leftover_age: timedelta = LEFTOVER_AGE) -> Iterator[Problem]:
    """Compare the arrays with the catalog.

    Problems are rows without an entry, reservations and unfinished files older than `leftover_age`, and
    copies whose compaction did not end.
    """
    before = store.database.now() - leftover_age
    # List first: a row reserved later is in neither, a row reserved before is in the catalog.
    layout = read_layout(store.objects)
    for path, written in sorted(layout.partial.items()):
        if written is not None and written < before:
            yield Problem("", f"{path}: left by a writer that died; run covpool store gc")
    at_work = store.copies.at_work(before)
    for (namespace, generation), chunks in sorted(layout.chunks.items()):
        claimed = store.ledger.rows(namespace, generation).keys()
        if generation and not claimed and (namespace, generation) not in at_work:
            yield Problem(
                "",
                f"arrays/{namespace}/compacted.{generation}: a copy that no entry refers to; run covpool "
                "store compact to complete it, or covpool store rebuild to enter it",
            )
        if not generation and (unclaimed := chunks.keys() - claimed):
            yield Problem(
                "",
                f"arrays/{namespace}: {len(unclaimed)} row(s) that no entry of the catalog claims "
                f"({some(unclaimed)}); covpool store rebuild enters the whole ones, covpool store gc "
                "removes what is left",
            )
    for key in sorted(store.catalog.ready_among(list(store.partials.paths()))):
        yield Problem(key, f"{key}: is ready and has partial sums still; run covpool store gc")
    for entry in store.ledger.entries(RESERVED, before=before):
        yield Problem(
            entry.key,
            f"{entry.key}: reserved since {entry.since:%Y-%m-%d %H:%M} UTC and never written; its writer "
            "died, run covpool store gc",
        )


def verify(store: OpenedStore, *, leftover_age: timedelta = LEFTOVER_AGE, threads: int = 2) -> list[Problem]:
    """Everything `verify_entries` and `verify_rows` find."""
    problems = [problem for step in verify_entries(store, threads=threads) for problem in step.problems]
    return [*problems, *verify_rows(store, leftover_age=leftover_age)]


def check(store: OpenedStore, entry: Entry, *, repair: bool) -> Problem | None:
    """What is wrong with an entry; it is repaired first if `repair`."""
    try:
        moments = store.get(entry.key)
    except CorruptEntryError as error:
        return repaired(store, entry.key) if repair else Problem(entry.key, str(error))
    except KeyNotFoundError:
        return None
    if moments.count != entry.count and store.catalog.find(entry.key) == entry:
        return Problem(
            entry.key,
            f"{entry.key}: the catalog says {entry.count} tokens, its row {moments.count}; put it again, or "
            "rebuild the catalog",
        )
    return None


def repaired(store: OpenedStore, key: str) -> Problem | None:
    """Heal a key that did not read back; None if it was replaced in the meantime."""
    try:
        healing = heal(store, key)
    except CorruptEntryError as error:
        return Problem(key, str(error))
    if healing.damaged is None:
        return None
    if healing.current is None:
        return Problem(key, f"{healing.message}; compute it again (covpool extract, or submit it)")
    return Problem(key, healing.message, healed=True)
