"""Garbage collection: what writers left behind, and what nobody can read any more.

Nothing that a living writer may still flip to ready is touched: its row is reserved before its first chunk
is written, and a reservation is given up only when it is older than the age limit. Giving up comes first, in
the catalog, so that a writer that was merely slow is refused instead of flipping a row that is being removed,
and a copy that is being made is abandoned there before an object of it is removed. Before a whole row is
removed, its key must read back from another: where it does not, the row becomes the one that is read.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from covpool.store.arrays.compacted_arrays import USED, is_marked
from covpool.store.arrays.layout import (
    PLAN,
    Layout,
    Progress,
    generations,
    no_progress,
    read_layout,
)
from covpool.store.arrays.partial_files import partial_paths
from covpool.store.arrays.schema import ARRAYS, PARTS, chunk_paths, generation_path
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Place
from covpool.store.catalog.ledger import Ledger, WholeRow
from covpool.store.catalog.tables import RESERVED, RETIRED
from covpool.store.errors import StorageError
from covpool.store.opened import OpenedStore

AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed, or would be.

    Attributes:
        partial: unfinished files.
        reserved: reservations given up.
        retired: retired rows, with their chunks.
        unclaimed: rows without an entry, with their chunks.
        copies: compacted copies that nothing refers to.
        sums: partial sums of keys that are ready.
        kept: rows without an entry that were left alone, because the catalog may be older than they are.
        salvaged: rows that would have been removed, but are the last ones their keys can be read from; they
            are read now.
    """

    partial: int
    reserved: int
    retired: int
    unclaimed: int
    copies: int
    sums: int
    kept: int
    salvaged: int


def collect(
    store: OpenedStore, *, age: timedelta = AGE, dry_run: bool = False, progress: Progress = no_progress
) -> Swept:
    """Remove what is older than `age` and of no use.

    Args:
        store: the store.
        age: how long an unfinished file, a reservation, a retired row or an unfinished copy is left alone:
            longer than any writer takes for one matrix, and any reader for one look-up.
        dry_run: only count.
        progress: called with the objects removed and those to remove.
    """
    store.require_writable()
    ledger, copies, objects = Ledger(store.database), Copies(store.database), store.objects
    before = store.database.now() - age
    # Listed first: the rows of whoever reserves later are not in it.
    layout = read_layout(objects)
    partial = [path for path, written in layout.partial.items() if written is not None and written < before]
    reserved = ledger.entries(RESERVED, before=before)
    if not dry_run:
        reserved = ledger.retire(reserved)
    strays, kept = _strays(layout, ledger)
    records = [(place, store.arrays_of(place).whole(place.row)) for place in strays]
    if not dry_run:
        strays = ledger.claim(records)
    given_up = {entry.place for entry in reserved}
    retired = {
        entry.place for entry in ledger.entries(RETIRED, before=before) if not entry.place.generation
    } - given_up
    last = _Last(store, dry_run)
    doomed_rows = {place: None for place in (*retired, *given_up, *strays) if not last.keeps(place)}
    doomed_copies = _abandoned(store, copies, before, dry_run) | _unread(
        store, ledger, copies, before, last, dry_run
    )

    unfinished = partial_paths(objects)
    finished = store.catalog.ready_among(list(unfinished))
    doomed = [*partial, *(path for key in finished for path in unfinished[key])]
    doomed += [path for place in doomed_rows for path in _chunks(place)]
    doomed += [path for paths in doomed_copies.values() for path in paths]
    if not dry_run:
        for done, path in enumerate(doomed):
            progress(done, len(doomed))
            objects.delete(path)
        progress(len(doomed), len(doomed))
        for (namespace, generation), paths in doomed_copies.items():
            path = f"{ARRAYS}/{namespace}/compacted.{generation}"
            wholly = f"{path}/{PLAN}" in paths
            for folder in [path] if wholly else [f"{path}/{array}" for array in PARTS]:
                objects.delete_folder(folder)
            ledger.forget_copy(namespace, generation)
        ledger.forget(doomed_rows)
    return Swept(
        partial=len(partial),
        reserved=len(reserved),
        retired=len(doomed_rows.keys() & retired),
        unclaimed=len(doomed_rows.keys() & set(strays)),
        copies=sum(1 for paths in doomed_copies.values() if paths),
        sums=len(finished),
        kept=kept,
        salvaged=last.salvaged,
    )


class _Last:
    """Tells which rows are the last ones that their keys can be read from, and has those read.

    Attributes:
        salvaged: how many there were.
    """

    def __init__(self, store: OpenedStore, dry_run: bool) -> None:
        self._store, self._dry_run = store, dry_run
        self._ledger = Ledger(store.database)
        self.salvaged = 0

    def keeps(self, place: Place) -> bool:
        """Whether the row there must stay; so does one of which that cannot be told now."""
        try:
            record = self._store.record_at(place)
            if record is None:
                return False
            ready = self._store.catalog.find(record.key)
            if ready is not None and ready.place != place:
                successor = self._store.record_at(ready.place)
                if successor is not None and successor.key == record.key:
                    return False
        except StorageError:
            return True
        self.salvaged += 1
        if not self._dry_run:
            replaces = {} if ready is None else {record.key: ready.place}
            self._ledger.adopt([WholeRow(place, record, None)], replaces)
        return True


def _chunks(place: Place) -> list[str]:
    # What says whose they are first: what is left then can be told from a row.
    return chunk_paths(generation_path(place.namespace, 0), place.row)[::-1]


def _strays(layout: Layout, ledger: Ledger) -> tuple[list[Place], int]:
    """Rows that have chunks and no entry, and how many such rows the catalog has not handed out yet.

    The latter are no garbage: the catalog is a backup from before they were written.
    """
    namespaces, strays, kept = ledger.namespaces(), list[Place](), 0
    for (name, generation), chunks in layout.chunks.items():
        if generation:
            continue
        namespace, handed_out = namespaces.get(name, (None, 0))
        claimed = ledger.rows(name, 0)
        for row in chunks.keys() - claimed.keys():
            if namespace is not None and row < handed_out:
                strays.append(Place(namespace, 0, row))
            else:
                kept += 1
    return strays, kept


def _abandoned(
    store: OpenedStore, copies: Copies, before: datetime, dry_run: bool
) -> dict[tuple[str, int], list[str]]:
    """By namespace and generation, the objects of copies that never came to be, or were given up before."""
    if not dry_run:
        for name in Ledger(store.database).namespaces():
            for generation in generations(store.objects, name):
                if generation not in copies.states(name):
                    copies.attend(name, generation)
    given_up = copies.unfinished(before, abandon=not dry_run)
    return {which: _objects(store, *which) for which in given_up}


def _unread(
    store: OpenedStore, ledger: Ledger, copies: Copies, before: datetime, last: _Last, dry_run: bool
) -> dict[tuple[str, int], list[str]]:
    """By namespace and generation, the objects of copies that were read and of which no row is any more."""
    retired: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for entry in ledger.entries(RETIRED, before=before):
        if entry.place.generation:
            retired[entry.namespace.id, entry.place.generation].append(entry.place)
    unread = {}
    for (name, generation), places in retired.items():
        if len(places) < len(ledger.rows(name, generation)) or [
            place for place in places if last.keeps(place)
        ]:
            continue
        if dry_run or copies.abandon_used(name, generation):
            unread[name, generation] = _objects(store, name, generation)
    return unread


def _objects(store: OpenedStore, namespace: str, generation: int) -> list[str]:
    """What is removed of a copy: of one that was read from, its description stays, and with it its number."""
    path = f"{ARRAYS}/{namespace}/compacted.{generation}"
    used = is_marked(store.storage, path, USED)
    kept = (f"{path}/zarr.json", f"{path}/{PLAN}") if used else ()
    return [name for name in store.objects.below(path) if name not in kept]
