"""Rooms: all tables in a catalog's database, the store's and those of other rooms, made or only read."""

from dataclasses import replace
from importlib.metadata import entry_points

from zarr.abc.store import Store as ZarrStorage

from covpool.store.catalog.tables import TABLES
from covpool.store.database.database import Database
from covpool.store.database.migrations import RoomTables
from covpool.store.database.sqlite_files import copy_bytes, copy_into
from covpool.store.storage.locations import CATALOG_FILE
from covpool.store.storage.objects import Objects

#: Rooms that keep tables in the same database name them here.
GROUP = "covpool.tables"


def rooms() -> dict[str, RoomTables]:
    """The tables by room: the store's, and those of the rooms that are installed."""
    return {"store": TABLES} | {
        entry_point.name: entry_point.load() for entry_point in entry_points(group=GROUP)
    }


def kept_catalog(storage: ZarrStorage, location: str) -> Database | None:
    """The catalog that a backup stores among its objects, for reading only; None without one."""
    content = Objects(storage).read(CATALOG_FILE)
    if content is None:
        return None
    database = Database.in_memory()
    copy_bytes(database.engine, content, f"{location}/{CATALOG_FILE}")
    return replace(database, read_only=True)


def readable(database: Database) -> Database:
    """The database to read from: of an older SQLite file that is open for reading only, a migrated copy.

    Raises:
        CatalogError: the database cannot be reached, or refused.
        FormatVersionError: another room's tables are newer than this covpool.
    """
    if database.engine.dialect.name != "sqlite":
        return database
    with database.reading() as connection:
        # Other rooms' tables are not checked: loading them takes longer than most look-ups.
        revision = TABLES.revision_in(connection)
        if revision is None or revision >= TABLES.revision:
            return database
        copy = Database.in_memory()
        copy_into(copy.engine, connection)
    database.close()
    for tables in rooms().values():
        tables.migrate(copy)
    return replace(copy, read_only=True)


def with_tables(database: Database, tables: RoomTables) -> Database:
    """The database with the tables of a room, which are made if they are missing.

    A database for reading only that lacks them is replaced by an empty one in memory.

    Raises:
        FormatVersionError: they are of another revision.
        CatalogError: the database cannot be reached, or refused.
    """
    if database.read_only:
        with database.reading() as connection:
            has_tables = tables.revision_in(connection) is not None
        if not has_tables:
            empty = Database.in_memory()
            for needed in (TABLES, tables):
                needed.ensure(empty)
            return replace(empty, read_only=True)
    tables.ensure(database)
    return database
