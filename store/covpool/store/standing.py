"""Standing: whether a catalog is as new as the arrays it describes, and belongs to them.

A store has an identity and a serial, which grows whenever it is opened for writing. Both are stored twice:
in the catalog, and in the object `store.json` next to the arrays. A catalog with a smaller serial than its
arrays is an old copy (a restored backup, a file without its write-ahead log), and so is one that has not
handed out rows or copies that exist. Arrays with a smaller serial that lack the latest rows are an old copy
too. Such a catalog may be read, but is not written to before `covpool store rebuild`: the rows it would hand
out next are in use.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.arrays.compacted_arrays import SEALED, is_marked
from covpool.store.arrays.compacted_arrays import USED as USED_MARK
from covpool.store.arrays.layout import generations
from covpool.store.arrays.schema import MEAN, RECORD, Namespace, chunk_path, generation_path
from covpool.store.catalog.catalog import entry_of, select_entries
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.ledger import Ledger
from covpool.store.catalog.tables import BUILDING, READY, entries, meta
from covpool.store.database.database import Database, advisory_lock
from covpool.store.errors import CorruptEntryError, LocationError, StorageError
from covpool.store.storage.objects import Objects

#: The object that says which store the arrays are, and how new a catalog must be.
STORE_FILE = "store.json"

_STORE, _SERIAL = "store", "serial"
#: Rows after the last one handed out that are checked: some may have been deleted.
_PROBED = (0, 1, 2, 3, 7, 15, 31, 63)
#: Latest ready rows that are checked if the arrays seem older.
_LATEST = 16


@dataclass(frozen=True)
class Standing:
    """The identity and age of a store, according to its catalog or to its arrays.

    Attributes:
        store: identity, which never changes.
        serial: how often it was opened for writing.
        unfinished: of arrays: a backup or restore into them has not ended.
    """

    store: str
    serial: int
    unfinished: bool = False


def outdated(database: Database, objects: Objects, where: str) -> str | None:
    """Why catalog and arrays are not of the same moment, in one sentence; None if they seem to be.

    Raises:
        LocationError: the catalog is that of another store.
    """
    of_arrays, of_catalog = _of_arrays(objects, where), _of_catalog(database)
    if of_arrays is not None:
        if of_catalog is not None and of_catalog.store != of_arrays.store:
            raise LocationError(
                f"{where}: its arrays are those of store {of_arrays.store[:8]}, the catalog is that of "
                f"{of_catalog.store[:8]}; give the right --catalog"
            )
        if of_arrays.unfinished:
            return "a backup or restore into it has not ended; run it again"
        opened = 0 if of_catalog is None else of_catalog.serial
        if opened < of_arrays.serial:
            return (
                f"the store was opened for writing {of_arrays.serial - opened} time(s) since the catalog was"
            )
        # A process that ended between the two updates leaves the same state, but then the rows exist.
        if opened > of_arrays.serial and (lost := _lost(database, objects)):
            return f"{lost} of the rows that the catalog made ready last are not there: the arrays are older"
    if not objects.is_local:
        # On object storage this check costs requests; writing to such a row raises an error anyway.
        return None
    return next(_unknown_to(database, objects), None)


def require_arrays_of(database: Database, objects: Objects, where: str) -> None:
    """Raise if the arrays are missing (an unmounted disk, an emptied folder), which is no damage.

    Raises:
        StorageError: the arrays that belong to this catalog are not there.
    """
    of_arrays, of_catalog = _of_arrays(objects, where), _of_catalog(database)
    if of_arrays is None or of_catalog is None or of_arrays.store != of_catalog.store:
        raise StorageError(
            f"{where}: the arrays of this store are not there ({STORE_FILE} is missing, or another's); "
            "mount it, or bring them back"
        )


def opened_for_writing(database: Database, objects: Objects, where: str) -> None:
    """Count this opening in the catalog, flushed to disk, and then next to the arrays."""
    of_arrays = _of_arrays(objects, where)
    with database.writing(durable=True) as connection:
        advisory_lock(connection, "covpool store serial")
        latest = _latest(_read(connection), of_arrays)
        standing = Standing(latest.store, latest.serial + 1)
        connection.execute(sa.delete(meta).where(meta.c.name.in_((_STORE, _SERIAL))))
        values = {_STORE: standing.store, _SERIAL: str(standing.serial)}
        connection.execute(sa.insert(meta), [{"name": name, "value": text} for name, text in values.items()])
    _write(objects, standing, where)


def declare_outdated(objects: Objects, where: str) -> None:
    """Mark the catalog as older than the arrays, for every later opening."""
    of_arrays = _of_arrays(objects, where)
    if of_arrays is not None:
        _write(objects, Standing(of_arrays.store, of_arrays.serial + 1), where)


def declare_unfinished(database: Database, objects: Objects, where: str) -> None:
    """Mark the arrays as an unfinished copy of a catalog's store, until they are opened for writing.

    Raises:
        LocationError: they belong to another store.
    """
    of_catalog, of_arrays = _of_catalog(database), _of_arrays(objects, where)
    if of_catalog is not None and of_arrays is not None and of_arrays.store != of_catalog.store:
        raise LocationError(
            f"{where}: holds store {of_arrays.store[:8]}, not a backup of {of_catalog.store[:8]}"
        )
    unfinished = replace(_latest(of_catalog, of_arrays), unfinished=True)
    objects.write(STORE_FILE, json.dumps(asdict(unfinished)).encode())


def is_unfinished(objects: Objects, where: str) -> bool:
    """Whether the arrays are an unfinished copy."""
    of_arrays = _of_arrays(objects, where)
    return of_arrays is not None and of_arrays.unfinished


def has_standing(database: Database, objects: Objects, where: str) -> tuple[bool, bool]:
    """Whether a catalog, and arrays, have the identity of a store."""
    return _of_catalog(database) is not None, _of_arrays(objects, where) is not None


def _latest(*standings: Standing | None) -> Standing:
    """The identity of a store, a new one if there is none, and its highest serial."""
    known = [standing for standing in standings if standing is not None]
    serial = max((standing.serial for standing in known), default=0)
    return Standing(known[0].store if known else uuid4().hex, serial)


def _write(objects: Objects, standing: Standing, where: str) -> None:
    of_arrays = _of_arrays(objects, where)
    if of_arrays is None or of_arrays.unfinished or of_arrays.serial < standing.serial:
        objects.write(STORE_FILE, json.dumps(asdict(standing)).encode())


def _of_arrays(objects: Objects, where: str) -> Standing | None:
    text = objects.read(STORE_FILE)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        return Standing(str(fields[_STORE]), int(fields[_SERIAL]), bool(fields.get("unfinished")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocationError(
            f"{where}: {STORE_FILE} is damaged ({error}); remove it and run covpool store rebuild"
        ) from error


def _of_catalog(database: Database) -> Standing | None:
    with database.reading() as connection:
        return _read(connection)


def _read(connection: Connection) -> Standing | None:
    query = sa.select(meta.c.name, meta.c.value).where(meta.c.name.in_((_STORE, _SERIAL)))
    values = {row.name: row.value for row in connection.execute(query)}
    return Standing(values[_STORE], int(values[_SERIAL])) if len(values) == 2 else None


def _lost(database: Database, objects: Objects) -> int:
    """How many of the latest ready rows are missing in the arrays."""
    query = select_entries().where(entries.c.state == READY).order_by(entries.c.since.desc()).limit(_LATEST)
    with database.reading() as connection:
        latest = [entry_of(row).place for row in connection.execute(query)]
    paths = [
        f"{generation_path(place.namespace, place.generation)}/zarr.json"
        if place.generation
        else chunk_path(generation_path(place.namespace, 0), RECORD, place.row)
        for place in latest
    ]
    return sum(not objects.exists(path) for path in paths)


def _unknown_to(database: Database, objects: Objects) -> Iterator[str]:
    """Rows and copies that the catalog has not handed out."""
    ledger = Ledger(database)
    for name, (namespace, next_row) in ledger.namespaces().items():
        for row in (next_row + step for step in _PROBED):
            # A running writer may have got the row since: read the catalog again.
            if _has_row(objects, namespace, row) and row >= ledger.namespaces()[name][1]:
                yield f"row {row} of {generation_path(namespace, 0)} was handed out after it"
        for generation in generations(objects, name):
            path = generation_path(namespace, generation)
            try:
                described = objects.exists(f"{path}/{RECORD}/zarr.json")
                complete = described and is_marked(objects.storage, path, SEALED)
                # Read the arrays first: a copy is entered in the catalog before it is made.
                read_from = complete and is_marked(objects.storage, path, USED_MARK)
            except CorruptEntryError:
                # This is not a fault of the catalog; a reader of the copy repairs the description.
                continue
            state = Copies(database).states(name).get(generation)
            if complete and (state is None or (read_from and state == BUILDING)):
                yield f"{path} was made after it"


def _has_row(objects: Objects, namespace: Namespace, row: int) -> bool:
    path = generation_path(namespace, 0)
    return any(objects.exists(chunk_path(path, array, row)) for array in (MEAN, RECORD))
