"""Verify: every checksum read, and the catalog compared with the arrays in both directions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from covpool.store.arrays.layout import read_layout, some
from covpool.store.arrays.partial_files import partial_paths
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Entry
from covpool.store.catalog.ledger import Ledger
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
        while batch := store.catalog.entries(after=after, limit=_BATCH):
            problems = tuple(
                problem
                for problem in pool.map(lambda entry: check(store, entry, repair=repair), batch)
                if problem
            )
            after, done = batch[-1].key, done + len(batch)
            yield Checked(after, done, problems)


def verify_rows(store: OpenedStore, *, leftover_age: timedelta = LEFTOVER_AGE) -> Iterator[Problem]:
    """Compare the arrays with the catalog.

    Problems are rows without an entry, reservations and unfinished files older than `leftover_age`, and
    copies whose compaction did not end.
    """
    ledger, before = Ledger(store.database), store.database.now() - leftover_age
    # List first: a row reserved later is in neither, a row reserved before is in the catalog.
    layout = read_layout(store.objects)
    for path, written in sorted(layout.partial.items()):
        if written is not None and written < before:
            yield Problem("", f"{path}: left by a writer that died; run covpool store gc")
    at_work = Copies(store.database).at_work(before)
    for (namespace, generation), chunks in sorted(layout.chunks.items()):
        claimed = ledger.rows(namespace, generation).keys()
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
    for key in sorted(store.catalog.ready_among(list(partial_paths(store.objects)))):
        yield Problem(key, f"{key}: is ready and has partial sums still; run covpool store gc")
    for entry in ledger.entries(RESERVED, before=before):
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
