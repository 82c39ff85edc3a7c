"""Places of backups: where a store may be copied to, and the catalog of a copy in object storage.

A bucket cannot hold a writable database. A backup there stores its catalog as one object, which is made in a
temporary file and uploaded last; the store is opened with it for reading.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from covpool.store.arrays.layout import stored_namespaces
from covpool.store.arrays.schema import ARRAYS
from covpool.store.catalog.rooms import rooms
from covpool.store.catalog.tables import meta
from covpool.store.database.database import Database
from covpool.store.errors import LocationError
from covpool.store.opened import OpenedStore
from covpool.store.standing import STORE_FILE, is_unfinished
from covpool.store.storage.locations import CATALOG_FILE, MEMORY, in_bucket, open_storage
from covpool.store.storage.objects import Objects


@contextmanager
def backup_target(location: str, catalog: str | None) -> Iterator[OpenedStore]:
    """A place for a backup, or an earlier backup, as `back_up` takes it.

    Raises:
        LocationError: it is a folder with other files, or is not a store.
    """
    _require_no_others(location)
    if not in_bucket(location, catalog):
        with OpenedStore.open(location, catalog=catalog, lost_catalog=True) as store:
            yield store
        return
    with tempfile.TemporaryDirectory(prefix="covpool-backup-") as folder:
        file = Path(folder) / CATALOG_FILE
        with OpenedStore.open(location, catalog=f"sqlite:///{file}", lost_catalog=True) as store:
            yield store
        Objects(open_storage(location)).write(CATALOG_FILE, file.read_bytes())


@contextmanager
def restore_target(location: str, catalog: str | None) -> Iterator[OpenedStore]:
    """A place to restore to: a new one, or one with an unfinished restore.

    Raises:
        LocationError: it has a store already, or the database belongs to another store.
    """
    _require_no_others(location)
    with OpenedStore.open(location, catalog=catalog, lost_catalog=True) as store:
        if not is_unfinished(store.objects, location):
            held = stored_namespaces(store.storage)
            if held or store.objects.exists(STORE_FILE):
                raise LocationError(f"{location}: holds a store already; restore to a new place")
            _require_empty(store.database)
        yield store


def _require_no_others(location: str) -> None:
    """Refuse a folder with files that do not belong to a store."""
    if location == MEMORY:
        raise LocationError(f"{MEMORY}: is gone with this process; give a directory or s3://bucket/prefix")
    folder = Path(location).expanduser()
    if "://" in location or not folder.is_dir():
        return
    # An interrupted backup may have made some of these.
    own_names = (ARRAYS, CATALOG_FILE, STORE_FILE, "zarr.json")
    if (
        any(not path.name.startswith(own_names) for path in folder.iterdir())
        and not (folder / ARRAYS).is_dir()
    ):
        raise LocationError(f"{location}: holds other things; name a new or empty folder, or a backup")


def _require_empty(database: Database) -> None:
    """Refuse a database with rows in covpool's tables."""
    with database.reading() as connection:
        existing = set(sa.inspect(connection).get_table_names())
        for room in rooms().values():
            for table in room.metadata.sorted_tables:
                if table.name not in existing or table is meta:
                    continue
                if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                    raise LocationError(
                        f"database {database.name}: holds a catalog already ({table.name}); name an empty one"
                    )
