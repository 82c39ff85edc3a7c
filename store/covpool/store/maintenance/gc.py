"""Garbage collection: what writers left behind, and what nobody can read any more.

Nothing that a living writer may still flip to ready is touched: its row is reserved before its first chunk
is written, and a reservation is given up only when it is older than the age limit. Giving up comes first, in
the catalog, so that a writer that was merely slow is refused instead of flipping a row that is being removed.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from covpool.store.compacted_arrays import SEALED, is_marked
from covpool.store.entries import Entry, Place
from covpool.store.maintenance.compact import read_plan
from covpool.store.maintenance.layout import (
    PLAN,
    Layout,
    Progress,
    generations,
    no_progress,
    read_layout,
)
from covpool.store.maintenance.ledger import Ledger
from covpool.store.partial_files import partial_paths
from covpool.store.schema import ARRAYS, MEAN, RECORD, SECOND_MOMENT, chunk_path, generation_path
from covpool.store.tables import RESERVED, RETIRED

if TYPE_CHECKING:
    from covpool.store.zarr_store import Store

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
    """

    partial: int
    reserved: int
    retired: int
    unclaimed: int
    copies: int
    sums: int
    kept: int

    def as_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def collect(
    store: "Store", *, age: timedelta = AGE, dry_run: bool = False, progress: Progress = no_progress
) -> Swept:
    """Remove what is older than `age` and of no use.

    Args:
        store: the store.
        age: how long an unfinished file, a reservation, a retired row or an unfinished copy is left alone:
            longer than any writer takes for one matrix, and any reader for one look-up.
        dry_run: only count.
        progress: called with the objects removed and those to remove.
    """
    ledger, objects, before = Ledger(store.catalog), store.objects, datetime.now(UTC) - age
    # Listed first: the rows of whoever reserves later are not in it.
    layout = read_layout(objects)
    partial = [path for path, written in layout.partial.items() if written is not None and written < before]
    reserved = ledger.entries(RESERVED, before=before)
    if not dry_run:
        reserved = ledger.retire(reserved)
    unclaimed, kept = _unclaimed(layout, ledger)
    retired = {entry.place: entry for entry in ledger.entries(RETIRED, before=before)}
    retired.update((entry.place, entry) for entry in reserved)
    live = [entry for entry in retired.values() if not entry.place.generation]
    copies = _useless_copies(store, ledger, retired.keys(), before)
    gone = [e for e in retired.values() if (e.namespace.id, e.place.generation) in copies]

    unfinished = partial_paths(objects)
    finished = store.catalog.ready_among(list(unfinished))
    doomed = [
        *partial,
        *(path for key in finished for path in unfinished[key]),
        *(path for paths in unclaimed for path in paths),
    ]
    doomed += [path for entry in live for path in _chunks(entry)]
    doomed += [path for paths in copies.values() for path in paths]
    if not dry_run:
        for done, path in enumerate(doomed):
            progress(done, len(doomed))
            objects.delete(path)
        progress(len(doomed), len(doomed))
        for (namespace, generation), paths in copies.items():
            path = f"{ARRAYS}/{namespace}/compacted.{generation}"
            wholly = f"{path}/{PLAN}" in paths
            for folder in [path] if wholly else [f"{path}/{one}" for one in (SECOND_MOMENT, MEAN, RECORD)]:
                objects.delete_folder(folder)
        ledger.forget([*live, *gone])
    return Swept(
        partial=len(partial),
        reserved=len(reserved),
        retired=len(live) + len(gone) - len(reserved),
        unclaimed=len(unclaimed),
        copies=len(copies),
        sums=len(finished),
        kept=kept,
    )


def _chunks(entry: Entry) -> list[str]:
    path = generation_path(entry.namespace, 0)
    return [chunk_path(path, array, entry.row) for array in (RECORD, MEAN, SECOND_MOMENT)]


def _unclaimed(layout: Layout, ledger: Ledger) -> tuple[list[list[str]], int]:
    """Chunks of rows without an entry, and how many such rows the catalog has not handed out yet.

    The latter are no garbage: the catalog is a backup from before they were written.
    """
    known, removable, kept = ledger.namespaces(), [], 0
    for (name, generation), chunks in layout.chunks.items():
        if generation:
            continue
        handed_out = known[name][1] if name in known else 0
        claimed = ledger.rows(name, 0)
        for row, paths in chunks.paths.items():
            if row not in claimed and row < handed_out:
                removable.append(paths)
            elif row not in claimed:
                kept += 1
    return removable, kept


def _useless_copies(
    store: "Store", ledger: Ledger, retired: Collection[Place], before: datetime
) -> dict[tuple[str, int], list[str]]:
    """By namespace and generation, the objects of copies all of whose rows are retired, or never came to be.

    A sealed copy without entries is left alone: the catalog may be a backup from before it was made.
    """
    found = {}
    for name, (namespace, _) in ledger.namespaces().items():
        for generation in generations(store.objects, name):
            path, rows = generation_path(namespace, generation), ledger.rows(name, generation)
            if rows:
                useless = all(Place(namespace, generation, row) in retired for row in rows)
            else:
                plan = read_plan(store.objects, path)
                sealed = is_marked(store.storage, path, SEALED)
                useless = plan is not None and plan.begun < before and not sealed
            if useless:
                # What is kept of a copy that was read from: its number must not be given again.
                kept = (f"{path}/zarr.json", f"{path}/{PLAN}") if rows else ()
                found[name, generation] = [p for p in store.objects.below(path) if p not in kept]
    return found
