"""Backup: a second store that holds what the first held at one moment; restoring is a backup the other way.

The catalog is copied from one snapshot, with the tables of all rooms in its database. Then the objects that
it refers to are copied. They are never written over, so that a second backup to the same place copies only
what is new. A row that was replaced and swept meanwhile is taken from where its key lies now, and every row
is read back from the copy.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.compacted_arrays import CompactedArrays
from covpool.store.engines import alone
from covpool.store.entries import Entry, Place
from covpool.store.errors import LocationError
from covpool.store.maintenance.copies import Copies
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.layout import PLAN, Progress, no_progress, stored_namespaces
from covpool.store.maintenance.ledger import Ledger
from covpool.store.maintenance.rebuild import reads, rebuild
from covpool.store.maintenance.verify import Problem
from covpool.store.rooms import rooms
from covpool.store.schema import (
    MEAN,
    RECORD,
    SECOND_MOMENT,
    Namespace,
    chunk_path,
    generation_path,
)
from covpool.store.tables import READY, USED

if TYPE_CHECKING:
    from covpool.store.zarr_store import Store

_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup did.

    Attributes:
        entries: keys that can be read from the copy.
        objects: objects that were copied; those that were there already are not counted.
        problems: keys that cannot be read from the copy, nor from the store.
    """

    entries: int
    objects: int
    problems: tuple[Problem, ...]


def back_up(
    source: "Store", target: "Store", *, threads: int = 2, progress: Progress = no_progress
) -> BackedUp:
    """Have `target` hold all that `source` holds now; others may read and write `source` meanwhile.

    Args:
        source: the store.
        target: opened with `lost_catalog=True`: a new store, or an earlier backup of this one.
        threads: rows copied and read back at once.
        progress: called with the keys copied and how many there are.

    Raises:
        LocationError: `target` is another store.
        StoreError: a storage or database refused; the backup can be run again.
    """
    _check_target(source, target)
    with source.catalog.reading() as snapshot:
        _copy_tables(snapshot, target)
    copied = _copy_descriptions(source, target)
    ledger = Ledger(target.catalog)
    ready = ledger.entries(READY)
    lost = []
    with ThreadPoolExecutor(threads) as pool:
        for done, (entry, objects) in enumerate(
            pool.map(lambda one: _copy_row(source, target, one), ready), 1
        ):
            copied += objects
            if not reads(target, entry.place):
                lost.append(entry)
            progress(done, len(ready))
    problems = tuple(one for entry in lost if (one := _copy_current(source, target, entry)))
    if lost:
        rebuild(target, threads=threads)
    else:
        target.rebuilt()
    # Rows of an earlier backup that have been replaced since.
    collect(target)
    return BackedUp(len(ready) - len(problems), copied, problems)


def _check_target(source: "Store", target: "Store") -> None:
    source.require_current()
    target.require_open_for_writing()
    known, there = Ledger(source.catalog).namespaces(), stored_namespaces(target.storage)
    if strangers := sorted(set(there) - known.keys()):
        raise LocationError(
            f"{target.where}: holds arrays that {source.where} does not know ({strangers[0]}); back up "
            "to a new place, or to an earlier backup of the same store"
        )


def _copy_tables(snapshot: Connection, target: "Store") -> None:
    """Have the target's database hold the rows of all rooms as `snapshot` sees them, in one transaction."""
    held = set(sa.inspect(snapshot).get_table_names())
    tables: list[sa.Table] = []
    for room in rooms().values():
        if held & room.metadata.tables.keys():
            room.ensure(target.catalog.engine)
            tables += room.metadata.sorted_tables
    with target.catalog.writing(durable=True) as connection:
        alone(connection, "covpool store backup")
        for table in reversed(tables):
            connection.execute(sa.delete(table))
        for table in tables:
            rows = snapshot.execute(sa.select(table).execution_options(yield_per=_ROWS_AT_ONCE))
            for some in rows.partitions():
                connection.execute(sa.insert(table), [dict(row._mapping) for row in some])


def _copy_descriptions(source: "Store", target: "Store") -> int:
    """Copy what says how the arrays are read that the target's catalog refers to."""
    known = Copies(target.catalog)
    return sum(
        _describe(source, target, namespace, generation)
        for namespace, _ in Ledger(target.catalog).namespaces().values()
        for generation in (0, *(n for n, state in known.states(namespace.id).items() if state == USED))
    )


def _describe(source: "Store", target: "Store", namespace: Namespace, generation: int) -> int:
    group = generation_path(namespace, generation)
    arrays = [f"{group}/{array}/zarr.json" for array in (SECOND_MOMENT, MEAN, RECORD)]
    # Marks are added to a copy, so that what an earlier backup has of it may be of before.
    return _copy(source, target, [f"{group}/{PLAN}", f"{group}/zarr.json", *arrays], again=True)


def _copy_row(source: "Store", target: "Store", entry: Entry) -> tuple[Entry, int]:
    return entry, _copy(source, target, _objects_of(source, entry.place))


def _copy_current(source: "Store", target: "Store", entry: Entry) -> Problem | None:
    """Copy the row that a key is read from by now."""
    current = source.catalog.find(entry.key)
    if current is not None:
        _describe(source, target, current.namespace, current.place.generation)
        _copy(source, target, _objects_of(source, current.place))
        if reads(target, current.place):
            return None
    return Problem(entry.key, f"{entry.key}: cannot be read, and is not in the backup; compute it again")


def _objects_of(store: "Store", place: Place) -> list[str]:
    path, index = generation_path(place.namespace, place.generation), place.row
    if place.generation:
        arrays = store.arrays_of(place)
        assert isinstance(arrays, CompactedArrays)
        index //= arrays.shard_rows
    return [chunk_path(path, array, index) for array in (MEAN, SECOND_MOMENT, RECORD)]


def _copy(source: "Store", target: "Store", paths: Sequence[str], *, again: bool = False) -> int:
    """Copy those objects that there are and that the target lacks, or all `again`; returns how many."""
    copied = []
    for path in paths:
        if not again and target.objects.exists(path):
            continue
        data = source.objects.read(path)
        if data is not None:
            target.objects.write(path, data)
            copied.append(path)
    target.objects.force(copied)
    return len(copied)
