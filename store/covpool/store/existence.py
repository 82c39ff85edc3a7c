"""Existence: whether there is a store at a location, asked without making anything there.

Who only reads must not make an empty store of a mistyped path; who writes may.
"""

import os
from pathlib import Path

import sqlalchemy as sa
from zarr.abc.store import Store as ZarrStorage

from covpool.store.arrays.schema import ARRAYS
from covpool.store.catalog.tables import TABLES
from covpool.store.database.database import Database
from covpool.store.errors import LocationError, ReadOnlyError, StoreNotFoundError
from covpool.store.storage.locations import CATALOG_FILE, MEMORY
from covpool.store.storage.objects import Objects

#: What to do with a store that can only be read.
READ_ONLY_REMEDY = (
    "where it is only to be read, say --read-only (COVPOOL_READ_ONLY=true, Store.open(…, read_only=True))"
)

_ARRAYS_METADATA = f"{ARRAYS}/zarr.json"


def require_place(location: str | Path, catalog: str | None = None, *, lost_catalog: bool = False) -> None:
    """Refuse a directory without a store, and a SQLite catalog that is no file; nothing is opened.

    Args:
        location: as `Store.open` takes it.
        catalog: database URL, where the catalog is not the store's own.
        lost_catalog: arrays without a catalog are enough.

    Raises:
        StoreNotFoundError: there is no store.
        LocationError: memory://, in which another process can have left nothing.
    """
    text = str(location)
    if text == MEMORY:
        raise LocationError(f"{MEMORY}: lives in one process only; give a directory or s3://bucket/prefix")
    if "://" not in text:
        folder = Path(location).expanduser()
        arrays = (folder / _ARRAYS_METADATA).is_file()
        own = catalog is None and (folder / CATALOG_FILE).is_file()
        if not (arrays or own):
            raise _not_found(text)
        if catalog is None and not (own or lost_catalog):
            raise LocationError(
                f"{location}: has arrays and no {CATALOG_FILE}; give the right --catalog, or make it again "
                f"with: covpool store rebuild --store {location}"
            )
    if catalog is not None and not lost_catalog:
        require_catalog_file(catalog)


def require_arrays(storage: ZarrStorage, location: str | Path) -> None:
    """Refuse object storage in which no store was made.

    Raises:
        StoreNotFoundError: there is none.
    """
    if "://" in str(location) and Objects(storage).read(_ARRAYS_METADATA) is None:
        raise _not_found(str(location))


def require_writable_place(location: str | Path) -> None:
    """Refuse to open for writing the store in a directory that can only be read.

    Raises:
        ReadOnlyError: with the remedy.
    """
    folder = Path(location).expanduser()
    if "://" in str(location) or not (folder / _ARRAYS_METADATA).is_file():
        return
    if not os.access(folder, os.W_OK):
        only = os.statvfs(folder).f_flag & os.ST_RDONLY
        why = "is on a file system that can only be read" if only else "may not be written to by this user"
        raise ReadOnlyError(f"{location}: {why}; {READ_ONLY_REMEDY}")


def require_catalog(database: Database, location: str | Path) -> None:
    """Refuse a database in which no catalog was made.

    Raises:
        StoreNotFoundError: there is none.
        CatalogError: the database cannot be reached, or refused.
    """
    with database.reading() as connection:
        revision = TABLES.revision_in(connection)
    if revision is None:
        raise StoreNotFoundError(
            f"there is no store at {location}: database {database.name} holds no catalog; check the "
            "location and --catalog (COVPOOL_CATALOG)"
        )


def require_catalog_file(catalog: str) -> None:
    """Refuse the URL of a SQLite file that is not there, which opening it would make.

    Raises:
        StoreNotFoundError: naming it.
    """
    try:
        url = sa.make_url(catalog)
    except sa.exc.ArgumentError:
        # What is wrong with it is said when it is opened.
        return
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
        raise StoreNotFoundError(f"there is no catalog at {url.database}; check --catalog (COVPOOL_CATALOG)")


def _not_found(location: str) -> StoreNotFoundError:
    return StoreNotFoundError(
        f"there is no store at {location}; check the path, or make one with "
        f"`covpool serve --store {location}` or `covpool extract genes.fa --store {location}`"
    )
