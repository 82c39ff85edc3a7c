"""Garbage collection: delete the remains of interrupted writers, and rows that are no longer read.

A row that a running writer may still make ready is never touched: it is reserved before its first chunk is
written, and a reservation is given up only when it is older than the age limit. The catalog is changed first,
so that a slow writer gets an error instead of making ready a row that is being deleted; likewise, a copy is
abandoned there before an object of it is deleted. Before a complete row is deleted, its key must read back
from another row; if it does not, the row becomes ready.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from covpool.store.arrays.compacted_arrays import USED, is_marked
from covpool.store.arrays.layout import PLAN, Layout, Progress, generations, no_progress, read_layout
from covpool.store.arrays.schema import ARRAYS, PARTS, chunk_paths, generation_path
from covpool.store.catalog.entries import Place
from covpool.store.catalog.ledger import WholeRow
from covpool.store.catalog.tables import RESERVED, RETIRED
from covpool.store.errors import StorageError
from covpool.store.opened import OpenedStore

AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Swept:
    """What was deleted, or would be with `dry_run`.

    Attributes:
        partial: unfinished files.
        reserved: reservations given up.
        retired: retired rows, with their chunks.
        unclaimed: rows without an entry, with their chunks.
        copies: compacted copies that nothing refers to.
        sums: partial sums of ready keys.
        kept: rows without an entry that were kept, because the catalog may be older than they are.
        salvaged: rows due for deletion that are the last readable ones of their keys; they are ready
            now.
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
    """Delete what is older than `age` and no longer needed.

    Args:
        store: the store.
        age: how long an unfinished file, a reservation, a retired row or an unfinished copy is kept: longer
            than any writer needs for one matrix, and any reader for one look-up.
        dry_run: only count.
        progress: called with the objects deleted and the total.
    """
    store.require_writable()
    ledger, objects = store.ledger, store.objects
    before = store.database.now() - age
    # List first: rows that are reserved later are then not in the list.
    layout = read_layout(objects)
    partial = [path for path, written in layout.partial.items() if written is not None and written < before]
    reserved = ledger.entries(RESERVED, before=before)
    if not dry_run:
        reserved = ledger.retire(reserved)
    strays, kept = _strays(store, layout)
    records = [(place, store.arrays_of(place).whole(place.row)) for place in strays]
    if not dry_run:
        strays = ledger.claim(records)
    given_up = {entry.place for entry in reserved}
    retired = {
        entry.place for entry in ledger.entries(RETIRED, before=before) if not entry.place.generation
    } - given_up
    last = _Last(store, dry_run)
    doomed_rows = {place: None for place in (*retired, *given_up, *strays) if not last.keeps(place)}
    doomed_copies = _abandoned(store, before, dry_run) | _unread(store, before, last, dry_run)
    unfinished = store.partials.paths()
    finished = store.catalog.ready_among(list(unfinished))
    doomed = [*partial, *(path for key in finished for path in unfinished[key])]
    for place in doomed_rows:
        # The record is deleted first: the remaining chunks are then no complete row.
        doomed += reversed(chunk_paths(generation_path(place.namespace, 0), place.row))
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
    """Recognises rows that are the last readable ones of their keys, and makes them ready.

    Attributes:
        salvaged: number of such rows so far.
    """

    def __init__(self, store: OpenedStore, dry_run: bool) -> None:
        self._store, self._dry_run = store, dry_run
        self.salvaged = 0

    def keeps(self, place: Place) -> bool:
        """Whether the row must stay; a row that cannot be checked now stays too."""
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
            self._store.ledger.adopt([WholeRow(place, record, None)], replaces)
        return True


def _strays(store: OpenedStore, layout: Layout) -> tuple[list[Place], int]:
    """Rows that have chunks and no entry, and how many such rows the catalog has not handed out yet.

    The latter are kept: the catalog is a backup from before they were written.
    """
    namespaces, strays, kept = store.ledger.namespaces(), list[Place](), 0
    for (name, generation), chunks in layout.chunks.items():
        if generation:
            continue
        namespace, handed_out = namespaces.get(name, (None, 0))
        claimed = store.ledger.rows(name, 0)
        for row in chunks.keys() - claimed.keys():
            if namespace is not None and row < handed_out:
                strays.append(Place(namespace, 0, row))
            else:
                kept += 1
    return strays, kept


def _abandoned(store: OpenedStore, before: datetime, dry_run: bool) -> dict[tuple[str, int], list[str]]:
    """By namespace and generation, the objects of copies that were never completed, or were abandoned."""
    if not dry_run:
        for name in store.ledger.namespaces():
            for generation in generations(store.objects, name):
                if generation not in store.copies.states(name):
                    store.copies.attend(name, generation)
    given_up = store.copies.unfinished(before, abandon=not dry_run)
    return {which: _objects(store, *which) for which in given_up}


def _unread(
    store: OpenedStore, before: datetime, last: _Last, dry_run: bool
) -> dict[tuple[str, int], list[str]]:
    """By namespace and generation, the objects of used copies without a ready row."""
    retired: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for entry in store.ledger.entries(RETIRED, before=before):
        if entry.place.generation:
            retired[entry.namespace.id, entry.place.generation].append(entry.place)
    unread = {}
    for (name, generation), places in retired.items():
        if len(places) < len(store.ledger.rows(name, generation)) or [
            place for place in places if last.keeps(place)
        ]:
            continue
        if dry_run or store.copies.abandon_used(name, generation):
            unread[name, generation] = _objects(store, name, generation)
    return unread


def _objects(store: OpenedStore, namespace: str, generation: int) -> list[str]:
    """Objects of a copy to delete; a used copy keeps its description, so that its number stays taken."""
    path = f"{ARRAYS}/{namespace}/compacted.{generation}"
    used = is_marked(store.storage, path, USED)
    kept = (f"{path}/zarr.json", f"{path}/{PLAN}") if used else ()
    return [name for name in store.objects.below(path) if name not in kept]
