"""Rebuild: update the catalog from the arrays, or make it again from them.

The record of a row has its key; every complete row is entered. If several rows have one key, the newest that
reads back becomes ready: rows handed out after the latest copy was planned (the last first), then the copies
(the last first), then older rows. Names and times of creation are in the catalog only: if it is lost, so are
the names, and times become those of the files.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import zarr

from covpool.store.arrays.compacted_arrays import NEXT_ROW, SEALED, is_marked
from covpool.store.arrays.layout import (
    Layout,
    Progress,
    generations,
    no_progress,
    read_layout,
    read_namespace,
    stored_namespaces,
)
from covpool.store.arrays.schema import RECORD, RECORD_BYTES, Namespace, Record, chunk_path, generation_path
from covpool.store.catalog.entries import Place
from covpool.store.catalog.ledger import WholeRow
from covpool.store.catalog.tables import ABANDONED, READY, RESERVED, RETIRED, USED
from covpool.store.errors import CorruptEntryError
from covpool.store.maintenance.verify import Problem
from covpool.store.opened import OpenedStore
from covpool.store.values.keys import MomentsKey

_BATCH = 256
#: Chunks of one row.
_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        ready: rows entered as ready.
        superseded: rows entered as retired, because a newer row has their key.
        known: rows the catalog had already.
        problems: damaged rows and namespaces; they were not entered.
    """

    ready: int
    superseded: int
    known: int
    problems: tuple[Problem, ...]


def rebuild(store: OpenedStore, *, threads: int = 2, progress: Progress = no_progress) -> Rebuilt:
    """Enter every complete row that the catalog lacks, and make the newest readable row of each key ready.

    Readers, writers and the other tools may run at the same time. An interrupted run can be repeated: rows
    entered before are not read again.

    Args:
        store: opened with `Store.open(…, lost_catalog=True)`, or with a catalog that lacks rows.
        threads: rows read at once.
        progress: called with the rows read and the total.
    """
    store.require_open_for_writing()
    ledger, layout = store.ledger, read_layout(store.objects)
    namespaces, order, problems = list[Namespace](), list[Place](), list[Problem]()
    for name in stored_namespaces(store.storage):
        try:
            namespace = read_namespace(store.storage, name)
        except CorruptEntryError as error:
            problems.append(Problem("", str(error)))
            continue
        sound = _copies(store, namespace, store.copies.states(name))
        highest = max(layout.chunks[name, 0], default=-1)
        # Register all namespaces before the first row, so that later writers never get an existing row.
        ledger.register(namespace, max([highest + 1, *(_watermark(store, namespace, n) for n in sound)]))
        for number in sound:
            store.copies.attend(name, number, USED)
        order += _newest_first(store, namespace, sound, layout.chunks[name, 0])
        namespaces.append(namespace)
    claimed = {
        (namespace.id, generation): ledger.rows(namespace.id, generation)
        for namespace in namespaces
        for generation in (0, *generations(store.objects, namespace.id))
    }
    unknown = [p for p in order if p.row not in claimed[p.namespace.id, p.generation]]
    incumbents = _Incumbents(store, order)
    ready = superseded = done = 0
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(unknown), _BATCH):
            batch = unknown[start : start + _BATCH]
            results = list(pool.map(lambda place: _read(store, place), batch))
            problems.extend(result for result in results if isinstance(result, Problem))
            whole = [result for result in results if isinstance(result, WholeRow)]
            became = ledger.adopt(whole, incumbents.that_give_way_to(whole))
            ready, superseded = ready + sum(became), superseded + became.count(False)
            done += len(batch)
            progress(done, len(unknown))
    _read_anew(store, incumbents)
    problems.extend(_missing(store, layout))
    store.rebuilt()
    return Rebuilt(ready, superseded, len(order) - len(unknown), tuple(problems))


class _Incumbents:
    """The rows that were ready before, and which rows replace them."""

    def __init__(self, store: OpenedStore, newest_first: Sequence[Place]) -> None:
        self._store = store
        self._rank = {place: rank for rank, place in enumerate(newest_first)}
        self._ready = {entry.key: entry.place for entry in store.ledger.entries(READY)}

    def that_give_way_to(self, rows: Sequence[WholeRow]) -> dict[str, Place]:
        """By key, the ready rows that are older than `rows`, or do not read back."""
        places = {}
        for row in rows:
            place = self._ready.pop(row.record.key, None)
            if place and (self.is_older(place, row.place) or self._store.record_at(place) is None):
                places[row.record.key] = place
        return places

    def is_older(self, place: Place, other: Place) -> bool:
        """Whether a row was written before another; False for different namespaces."""
        same = place.namespace == other.namespace and place in self._rank
        return same and self._rank[place] > self._rank[other]


def _read_anew(store: OpenedStore, incumbents: _Incumbents) -> None:
    """Make rows ready that the catalog gave up, if no other row has their key.

    The same for rows that hold another key than their entry, which happens after a catalog was too old.
    """
    ledger = store.ledger
    for entry in (*ledger.entries(RETIRED), *ledger.entries(RESERVED)):
        row = _read(store, entry.place)
        if not isinstance(row, WholeRow):
            continue
        key, others = row.record.key, row.record.key != entry.key
        if entry.state == RESERVED and not (others and ledger.retire([entry])):
            continue
        ready = store.catalog.find(key)
        if ready is None:
            ledger.adopt([row])
        elif (others and incumbents.is_older(ready.place, entry.place)) or not store.record_at(ready.place):
            ledger.adopt([row], {key: ready.place})


def _missing(store: OpenedStore, layout: Layout) -> Iterator[Problem]:
    """Keys whose row is missing or incomplete."""
    for entry in store.ledger.entries(READY):
        chunks = layout.chunks[entry.namespace.id, 0].get(entry.row, [])
        if not entry.place.generation and len(chunks) < _CHUNKS and store.record_at(entry.place) is None:
            yield Problem(
                entry.key,
                f"{entry.key}: row {entry.row} of {generation_path(entry.namespace, 0)} is missing, and no "
                "other row holds the key; compute it again (covpool extract --again)",
            )


def _copies(store: OpenedStore, namespace: Namespace, states: Mapping[int, str]) -> list[int]:
    """Numbers of the complete copies that are not abandoned, the newest first."""
    numbers = []
    for number in reversed(generations(store.objects, namespace.id)):
        path = generation_path(namespace, number)
        # gc leaves the description of a deleted copy.
        if states.get(number) != ABANDONED and is_marked(store.storage, path, SEALED):
            numbers += [number] if store.objects.read(f"{path}/{RECORD}/zarr.json") else []
    return numbers


def _watermark(store: OpenedStore, namespace: Namespace, copy: int) -> int:
    """Rows that had been handed out when a copy was planned."""
    group = zarr.open_group(store.storage, path=generation_path(namespace, copy), mode="r")
    return int(str(group.attrs[NEXT_ROW]))


def _newest_first(
    store: OpenedStore, namespace: Namespace, copies: Sequence[int], live: Mapping[int, list[str]]
) -> Iterator[Place]:
    watermark = _watermark(store, namespace, copies[0]) if copies else 0
    rows = sorted(live, reverse=True)
    yield from (Place(namespace, 0, row) for row in rows if row >= watermark)
    for number in copies:
        path = f"{generation_path(namespace, number)}/{RECORD}"
        length = zarr.open_array(store.storage, path=path, mode="r").shape[0]
        yield from (Place(namespace, number, row) for row in range(length))
    yield from (Place(namespace, 0, row) for row in rows if row < watermark)


def _read(store: OpenedStore, place: Place) -> WholeRow | Problem | None:
    """The row at a place; None for an empty row of a copy."""
    try:
        arrays = store.arrays_of(place)
        chunk = arrays.chunk(RECORD, place.row)
        if chunk is None and place.generation:
            return None
        where = f"row {place.row} of {arrays.path}"
        if chunk is None:
            return Problem("", f"{where}: its record is missing; its key is unknown, gc removes the rest")
        if len(chunk) < RECORD_BYTES:
            return Problem("", f"{where}: its record is cut short, so that nobody can tell whose it is")
        record = Record.from_bytes(chunk[:RECORD_BYTES])
        arrays.read(place.row, record.key)
        identity = MomentsKey(record.sequence, record.length, place.namespace.recipe)
    except (CorruptEntryError, ValueError) as error:
        return Problem("", str(error))
    if identity.digest != record.key:
        return Problem(
            record.key, f"{where}: its key {record.key} is not one of this recipe; it lies in a wrong folder"
        )
    written = (
        store.objects.written(chunk_path(arrays.path, RECORD, place.row)) if not place.generation else None
    )
    return WholeRow(place, record, written)
