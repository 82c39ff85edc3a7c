"""Backup: a second store with the content of the first at one moment; restoring is a backup in reverse.

The tables of all rooms are copied from one snapshot into a temporary file. Then the objects that they refer
to are copied, except those that the target has already: a second backup copies only what is new. Every row is
read back from the copy. Finally the tables replace those of the target, in one transaction: until then an
earlier backup is unchanged. For a row that was replaced and deleted meanwhile, the current row of its key is
copied.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.arrays.compacted_arrays import CompactedArrays
from covpool.store.arrays.layout import PLAN, Progress, no_progress, stored_namespaces
from covpool.store.arrays.schema import ARRAYS, PARTS, Namespace, chunk_paths, generation_path
from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Entry, Place
from covpool.store.catalog.ledger import Ledger
from covpool.store.catalog.rooms import rooms
from covpool.store.catalog.tables import USED
from covpool.store.database.database import Database, advisory_lock
from covpool.store.errors import CorruptEntryError, FormatVersionError, LocationError
from covpool.store.maintenance.gc import collect
from covpool.store.maintenance.rebuild import rebuild
from covpool.store.maintenance.verify import Problem
from covpool.store.opened import OpenedStore
from covpool.store.standing import declare_unfinished, has_standing
from covpool.store.storage.objects import Objects
from covpool.store.storage.whole_files import PARTIAL

_ROWS_AT_ONCE = 5_000
#: Attempts to copy a key that is moved during the copy.
_CHASES = 5


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup did.

    Attributes:
        entries: keys that can be read from the copy.
        objects: objects that were copied; objects that the target had already are not counted.
        problems: keys that cannot be read from the copy or from the store.
    """

    entries: int
    objects: int
    problems: tuple[Problem, ...]


def back_up(
    source: OpenedStore, target: OpenedStore, *, threads: int = 2, progress: Progress = no_progress
) -> BackedUp:
    """Copy the current content of `source` to `target`; others may use `source` at the same time.

    Args:
        source: the store, which is only read.
        target: opened with `lost_catalog=True`: a new store, or an earlier backup of this one.
        threads: rows copied and read back at once.
        progress: called with the keys copied and how many there are.

    Raises:
        LocationError: `target` is another store, or `source` itself.
        OutdatedCatalogError: the catalog of `source` is older than its arrays.
        ReadOnlyError: `target` is open for reading only.
        StoreError: a storage or database refused; the backup can be run again.
    """
    check_target(source, target)
    declare_unfinished(source.database, target.objects, target.where)
    with _staged(source) as staged:
        copied = _copy_descriptions(source, target, staged)
        lost = list[Entry]()
        done, total = 0, staged.count()
        with ThreadPoolExecutor(threads) as pool:
            for batch in staged.batches():
                for entry, objects in pool.map(lambda entry: _copy_row(source, target, entry), batch):
                    copied += objects or 0
                    lost += [] if objects is not None else [entry]
                    done += 1
                    progress(done, total)
        with staged.database.reading() as snapshot:
            _copy_tables(snapshot, target.database)
    problems = tuple(problem for entry in lost if (problem := _chase(source, target, entry)))
    if lost:
        rebuild(target, threads=threads)
    else:
        target.rebuilt()
    # Delete rows of an earlier backup that were replaced since.
    collect(target)
    return BackedUp(total - len(problems), copied, problems)


def check_target(source: OpenedStore, target: OpenedStore) -> None:
    """Refuse to copy a store into another one.

    Raises:
        LocationError, OutdatedCatalogError, ReadOnlyError: see `back_up`.
    """
    source.require_current()
    target.require_open_for_writing()
    if _same_place(source.objects, target.objects) or source.database.is_same(target.database):
        raise LocationError(
            f"{target.where}: is the store itself, or has its catalog; back up to a new place"
        )
    catalog, arrays = has_standing(target.database, target.objects, target.where)
    namespaces, stored = source.ledger.namespaces(), stored_namespaces(target.storage)
    if catalog and not (arrays or stored):
        raise LocationError(
            f"{target.where}: the database for its catalog is that of a store elsewhere; name another"
        )
    if strangers := sorted(set(stored) - namespaces.keys()):
        raise LocationError(
            f"{target.where}: holds arrays that {source.where} does not know ({strangers[0]}); back up "
            "to a new place, or to an earlier backup of the same store"
        )


def _same_place(first: Objects, second: Objects) -> bool:
    """Whether both are the same storage: an object written to the second is in the first."""
    probe = f"{ARRAYS}/{uuid4().hex}{PARTIAL}"
    second.write(probe, b"")
    try:
        return first.exists(probe)
    finally:
        second.delete(probe)


@contextmanager
def _staged(source: OpenedStore) -> Iterator[Catalog]:
    """A copy of the source's tables in a temporary file, so that the source's database is soon free again."""
    with tempfile.TemporaryDirectory(prefix="covpool-backup-") as folder:
        staged = Catalog(Database.open(f"sqlite:///{Path(folder) / 'tables.sqlite'}"), folder)
        try:
            with source.database.reading() as snapshot:
                _copy_tables(snapshot, staged.database)
            yield staged
        finally:
            staged.database.close()


def _copy_tables(snapshot: Connection, target: Database) -> None:
    """Replace the rows of all rooms in the target's database by those of `snapshot`, in one transaction."""
    tables: list[sa.Table] = []
    for room in rooms().values():
        revision = room.revision_in(snapshot)
        if revision not in (None, room.revision):
            raise FormatVersionError(
                f"the {room.room} tables are of revision {revision}, and this covpool copies those of "
                f"{room.revision}; run `covpool store migrate` first"
            )
        if revision is not None:
            room.ensure(target)
            tables += room.metadata.sorted_tables
    with target.writing(durable=True) as connection:
        advisory_lock(connection, "covpool store backup")
        for table in reversed(tables):
            connection.execute(sa.delete(table))
        for table in tables:
            rows = snapshot.execute(sa.select(table).execution_options(yield_per=_ROWS_AT_ONCE))
            for some in rows.partitions():
                connection.execute(sa.insert(table), [dict(row._mapping) for row in some])


def _copy_descriptions(source: OpenedStore, target: OpenedStore, staged: Catalog) -> int:
    """Copy the metadata of all arrays that a catalog refers to."""
    copies = Copies(staged.database)
    return sum(
        _describe(source, target, namespace, generation)
        for namespace, _ in Ledger(staged.database).namespaces().values()
        for generation in (0, *(n for n, state in copies.states(namespace.id).items() if state == USED))
    )


def _describe(source: OpenedStore, target: OpenedStore, namespace: Namespace, generation: int) -> int:
    group = generation_path(namespace, generation)
    arrays = [f"{group}/{array}/zarr.json" for array in PARTS]
    # Marks are added to a copy later, so that the metadata in an earlier backup may be older.
    return _copy(source, target, [f"{group}/{PLAN}", f"{group}/zarr.json", *arrays], again=True)


def _copy_row(source: OpenedStore, target: OpenedStore, entry: Entry) -> tuple[Entry, int | None]:
    """Copy a row; the number of objects copied, or None if it does not read back as the entry says."""
    try:
        paths = _objects_of(source, entry.place)
    except (CorruptEntryError, FileNotFoundError):
        # Deleted, with its metadata.
        return entry, None
    copied = _copy(source, target, paths)
    if not _has(target, entry):
        # The target has a damaged object, or one of a store that diverged since the last backup.
        copied += _copy(source, target, paths, again=True)
    return entry, copied if _has(target, entry) else None


def _has(target: OpenedStore, entry: Entry) -> bool:
    """Whether the target has the complete row of an entry."""
    record = target.record_at(entry.place)
    return record is not None and (record.key, record.checksum) == (entry.key, entry.checksum)


def _chase(source: OpenedStore, target: OpenedStore, entry: Entry) -> Problem | None:
    """Copy the current row of a key, which may be moved again in the meantime."""
    place = entry.place
    for _ in range(_CHASES):
        current = source.catalog.find(entry.key)
        if current is None:
            break
        _describe(source, target, current.namespace, current.place.generation)
        if _copy_row(source, target, current)[1] is not None:
            return None
        if current.place == place:
            break
        place = current.place
    return Problem(entry.key, f"{entry.key}: cannot be read, and is not in the backup; compute it again")


def _objects_of(store: OpenedStore, place: Place) -> list[str]:
    path, index = generation_path(place.namespace, place.generation), place.row
    if place.generation:
        arrays = store.arrays_of(place)
        assert isinstance(arrays, CompactedArrays)
        index //= arrays.shard_rows
    return chunk_paths(path, index)


def _copy(source: OpenedStore, target: OpenedStore, paths: Sequence[str], *, again: bool = False) -> int:
    """Copy existing objects that the target lacks, or all `again`; returns how many."""
    wanted = [path for path in paths if again or not target.objects.exists(path)]
    copied = [path for path in wanted if source.objects.copy(path, target.objects)]
    target.objects.fsync(copied)
    return len(copied)
