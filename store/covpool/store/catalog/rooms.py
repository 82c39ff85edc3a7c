"""Rooms: all tables in a catalog's database, the store's and those of other rooms, made or only read."""

from importlib.metadata import entry_points

from sqlalchemy.engine import Engine
from zarr.abc.store import Store as ZarrStorage

from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.tables import TABLES
from covpool.store.database.engines import close_to_writers, in_memory, reading
from covpool.store.database.migrations import RoomTables
from covpool.store.database.sqlite_files import copy_bytes, copy_into
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.storage.objects import Objects

#: Rooms that keep tables in the same database name them here.
GROUP = "covpool.tables"


def rooms() -> dict[str, RoomTables]:
    """The tables by room: the store's, and those of the rooms that are installed."""
    return {"store": TABLES} | {found.name: found.load() for found in entry_points(group=GROUP)}


def kept_catalog(storage: ZarrStorage, location: str) -> Engine | None:
    """An engine that reads the catalog which a backup keeps among its objects; None without one."""
    content = Objects(storage).read(CATALOG_FILE)
    if content is None:
        return None
    engine = in_memory()
    copy_bytes(engine, content, f"{location}/{CATALOG_FILE}")
    return close_to_writers(engine)


def readable(engine: Engine) -> Engine:
    """An engine for reading only as this covpool reads it: of an older SQLite file a migrated copy in memory.

    Raises:
        CatalogError: the database cannot be reached, or refused.
        FormatVersionError: another room's tables are newer than this covpool.
    """
    if engine.dialect.name != "sqlite":
        return engine
    with reading(engine) as connection:
        # Of the other rooms' tables nothing is asked: loading them takes longer than most look-ups.
        known = TABLES.found(connection)
        if known is None or known >= TABLES.revision:
            return engine
        copy = in_memory()
        copy_into(copy, connection)
    engine.dispose()
    for tables in rooms().values():
        tables.migrate(copy)
    return close_to_writers(copy)


def with_tables(catalog: Catalog, tables: RoomTables) -> Catalog:
    """The catalog, whose database has the tables of a room from now on.

    Of one that is for reading only, and has none of them, an empty one in memory takes the place.

    Raises:
        FormatVersionError: they are of another revision.
        CatalogError: the database cannot be reached, or refused.
    """
    if catalog.read_only:
        with catalog.reading() as connection:
            there = tables.found(connection) is not None
        if not there:
            empty = Catalog(in_memory(), "memory")
            tables.ensure(empty.engine)
            close_to_writers(empty.engine)
            return empty
    tables.ensure(catalog.engine)
    return catalog
