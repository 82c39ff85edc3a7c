"""Opening: the arrays and the catalog of a store, checked against each other; made where they may be."""

from collections.abc import Mapping
from pathlib import Path

from zarr.abc.store import Store as ZarrStorage

from covpool.store.arrays.layout import stored_namespaces
from covpool.store.arrays.zarr_arrays import DAMAGED_METADATA, open_root
from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.ledger import Ledger
from covpool.store.catalog.rooms import kept_catalog, readable
from covpool.store.database.database import Database
from covpool.store.errors import CatalogError, LocationError, StorageError, StoreError
from covpool.store.existence import (
    READ_ONLY_REMEDY,
    require_arrays,
    require_catalog,
    require_place,
    require_writable_place,
)
from covpool.store.standing import opened_for_writing, outdated
from covpool.store.storage.durability import Durability, check_durability
from covpool.store.storage.locations import catalog_url, in_bucket, open_storage


def open_parts(
    location: str | Path,
    *,
    catalog: str | None,
    options: Mapping[str, str] | None,
    durability: Durability,
    lost_catalog: bool,
    create: bool,
    read_only: bool,
) -> tuple[ZarrStorage, Catalog, str | None]:
    """Arrays and catalog, and why the catalog is known to be older; see `Store.open`."""
    check_durability(durability)
    if read_only or not create:
        require_place(location, catalog, lost_catalog=lost_catalog)
    if not read_only:
        require_writable_place(location)
        catalog_url(location, catalog)
    storage = open_storage(location, options, read_only=read_only)
    kept = kept_catalog(storage, str(location)) if read_only and in_bucket(location, catalog) else None
    database = kept or Database.open(catalog_url(location, catalog), durability, read_only=read_only)
    try:
        if read_only or not create:
            require_arrays(storage, location)
            if not lost_catalog:
                require_catalog(database, location)
        if read_only:
            database = readable(database)
        found = Catalog(database, str(location))
        open_root(storage, str(location))
        older = outdated(database, storage, str(location))
        if not lost_catalog and _knows_none(database, storage):
            told = f" ({older})" if older else ""
            raise LocationError(
                f"{location}: has arrays, and a catalog that knows none of them{told}; give the right "
                "--catalog, or make it again with: covpool store rebuild"
            )
        if not (lost_catalog or older or read_only):
            try:
                opened_for_writing(database, storage, str(location))
            except (CatalogError, StorageError) as error:
                raise type(error)(f"{error}; {READ_ONLY_REMEDY}") from error
    except StoreError as error:
        database.close()
        # Of a database that nobody named the reader knows only the location.
        if isinstance(error, CatalogError) and catalog is None:
            raise LocationError(f"{location}: the catalog cannot be opened; {error}") from error
        raise
    except (*DAMAGED_METADATA, OSError) as error:
        database.close()
        raise LocationError(
            f"{location}: the arrays cannot be opened ({first_line(error)}); "
            "check the permissions, the free space, and that nothing else wrote there"
        ) from error
    return storage, found, older


def _knows_none(database: Database, storage: ZarrStorage) -> bool:
    """Whether there are arrays, and the catalog has not heard of any."""
    ledger = Ledger(database)
    # Asked again at last: another process may just be making the first.
    return not ledger.namespaces() and bool(stored_namespaces(storage)) and not ledger.namespaces()


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
