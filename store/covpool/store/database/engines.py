"""Engines: one way to open SQLite and Postgres, and transactions that mean the same on both.

A writing transaction sees what others have committed and takes its locks before it changes anything
(SQLite: the file's write lock; Postgres: the rows it selects for update). A reading one sees one snapshot.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from random import randrange
from threading import RLock

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from covpool.store.database.sqlite_files import copy_with_log, file_engine, log_alone, unchanged
from covpool.store.errors import CatalogError, LocationError, ReadOnlyError
from covpool.store.storage.durability import Durability

#: Seconds until an unreachable Postgres server is given up.
CONNECT_TIMEOUT_S = 10

#: Seconds that a writer on SQLite waits for its turn.
BUSY_S = 30

#: Pages (of 4 KiB) in the write-ahead log before they are copied to the database, which waits for the disk:
#: a page written many times over is copied once.
_WAL_PAGES = 10_000

#: Most that a connection keeps of the database in memory, in KiB.
_CACHE_KIB = 32 * 1024

#: What SQLite says of a file that was cut short or written over.
_DAMAGED = ("malformed", "not a database")

_TURN, _READ_ONLY = "turn", "read_only"
#: Class of the locks by which a database is recognised.
_PROBE = 20_261
_POSTGRES_DRIVER = "postgresql+psycopg"


def open_engine(url: str, durability: Durability = "process", *, read_only: bool = False) -> Engine:
    """An engine for `url`: sqlite:///path (WAL mode), sqlite:// (in memory), or postgresql://user:password@host/name.

    Args:
        url: of the database.
        durability: of its transactions, see `covpool.store.storage.durability`.
        read_only: for reading only; nothing is made or changed, nor has to be writable.

    Raises:
        LocationError: the URL is no URL, names another kind of database, or its driver is not installed.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise LocationError(
            "the catalog's URL cannot be read; write sqlite:///path or postgresql://user:password@host/name"
        ) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return close_to_writers(_reader(parsed)) if read_only else _sqlite(parsed, durability)
    if parsed.drivername in ("postgres", "postgresql", _POSTGRES_DRIVER):
        engine = _postgres(parsed.set(drivername=_POSTGRES_DRIVER), read_only)
        return close_to_writers(engine) if read_only else engine
    raise LocationError(
        f"{parsed.drivername}: not a database that holds a catalog; write sqlite:///path or "
        "postgresql://user:password@host/name"
    )


def close_to_writers(engine: Engine) -> Engine:
    """The engine, through which nothing is written from now on."""
    engine.update_execution_options(**{_READ_ONLY: True})
    return engine


def is_read_only(engine: Engine) -> bool:
    """Whether nothing can be written through it."""
    return bool(engine.get_execution_options().get(_READ_ONLY))


@contextmanager
def writing(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """A transaction that writes; committed on leaving, rolled back on an exception.

    Args:
        engine: of the database.
        durable: on the disk when it ends, whatever the durability of the engine.

    Raises:
        CatalogError: the database cannot be reached, or refused.
        ReadOnlyError: the engine is for reading only.
    """
    if is_read_only(engine):
        raise ReadOnlyError(
            f"database {shown(engine.url)}: is open for reading only, so that nothing can be computed, kept "
            "or changed here; ask where the store is open for writing"
        )
    with _named(engine), _turn(engine), engine.connect() as connection, _forced(connection, durable):
        connection.execution_options(write=True)
        with connection.begin():
            yield connection


@contextmanager
def _forced(connection: Connection, durable: bool) -> Iterator[None]:
    """SQLite waits for the disk at the end of the transaction; other databases do so anyway."""
    driver = connection.connection.driver_connection
    if not durable or connection.dialect.name != "sqlite" or driver is None:
        yield
        return
    (before,) = driver.execute("PRAGMA synchronous").fetchone()
    driver.execute("PRAGMA synchronous=FULL")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA synchronous={before}")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, from one snapshot.

    Raises:
        CatalogError: the database cannot be reached, or refused.
    """
    with _named(engine), _turn(engine), unchanged(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def alone(connection: Connection, subject: str) -> None:
    """Wait until no other transaction holds `subject`, and hold it until this one ends.

    For steps that no row can stand for. A writing transaction on SQLite is alone already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(subject, 0))))


def same_database(one: Engine, other: Engine) -> bool:
    """Whether two engines are of one database, under whatever names they go.

    Raises:
        CatalogError: a database cannot be reached, or refused.
    """
    if one.dialect.name != other.dialect.name:
        return False
    if one.dialect.name == "sqlite":
        files = [Path(engine.url.database or "") for engine in (one, other)]
        return all(file.is_file() for file in files) and files[0].samefile(files[1])
    number = randrange(1 << 31)
    held = sa.select(sa.func.pg_advisory_xact_lock(_PROBE, number))
    seen = sa.text(
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND classid = :probe AND objid = :number "
        "AND datname = current_database()"
    )
    with reading(one) as holder:
        holder.execute(held)
        with reading(other) as looker:
            return looker.execute(seen, {"probe": _PROBE, "number": number}).first() is not None


def insert_if_absent(connection: Connection, table: sa.Table, rows: list[dict[str, object]]) -> int:
    """Insert those of `rows` that collide with no row already there; returns how many were new.

    Of writers inserting the same row at once one does it, and the others wait for it and skip.
    """
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        # One statement however many rows: what each of them costs the driver is ten times its insertion.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        inserted = connection.execute(_insert_columns(table, tuple(columns)), columns)
    else:
        inserted = connection.execute(_insert_rows(table), rows)
    return inserted.rowcount


@lru_cache(maxsize=64)
def _insert_rows(table: sa.Table) -> sa.Insert:
    return sqlite.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@lru_cache(maxsize=64)
def _insert_columns(table: sa.Table, names: tuple[str, ...]) -> sa.Insert:
    """Takes a list for each column."""
    # As text of any length: a cast to VARCHAR(n) would cut what is too long, where inserting refuses it.
    kinds = {
        name: sa.Text() if isinstance(table.c[name].type, sa.String) else table.c[name].type for name in names
    }
    lists = (sa.func.unnest(sa.bindparam(name, type_=postgresql.ARRAY(kinds[name]))) for name in names)
    statement = postgresql.insert(table).from_select(names, sa.select(*lists))
    return statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def shown(url: str | URL) -> str:
    """`url` as it may be shown: without its password."""
    return sa.make_url(url).render_as_string(hide_password=True)


def _sqlite(url: URL, durability: Durability) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    engine = (
        # One connection is the database: every thread shares it, one transaction at a time.
        sa.create_engine(
            url,
            poolclass=sa.StaticPool,
            connect_args={"check_same_thread": False},
            execution_options={_TURN: RLock()},
        )
        if in_memory
        else sa.create_engine(url)
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: object, _: object) -> None:
        # The driver's own transaction control is switched off: `begin` below is explicit.
        connection.isolation_level = None  # type: ignore[attr-defined]
        for pragma in (
            f"busy_timeout={BUSY_S * 1000}",
            # In WAL mode NORMAL may lose the latest transactions with the power, never parts of one.
            f"synchronous={'FULL' if durability == 'power-loss' else 'NORMAL'}",
            "foreign_keys=ON",
            f"wal_autocheckpoint={_WAL_PAGES}",
            f"cache_size=-{_CACHE_KIB}",
        ):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]
        _write_ahead(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer half-way fails at once when another writes; so writers say so first.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _reader(url: URL) -> Engine:
    """An engine that reads a SQLite file, or what it and its log hold."""
    path = Path(url.database or ":memory:")
    if not log_alone(path):
        return file_engine(url)
    engine = in_memory()
    copy_with_log(path, engine)
    return engine


def in_memory() -> Engine:
    """An engine over an empty database of this process."""
    return _sqlite(sa.make_url("sqlite://"), "process")


def _write_ahead(connection: object) -> None:
    """Switch to WAL mode; of several that do so at once on a new file some are refused without waiting."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _postgres(url: URL, read_only: bool) -> Engine:
    if find_spec("psycopg") is None:
        raise LocationError(
            f"{shown(url)}: the Postgres driver is not installed; pip install 'covpool[postgres]'"
        )
    if not url.database:
        raise LocationError(f"{shown(url)}: names no database; write postgresql://user:password@host/name")
    # Times come back in the session's zone; the catalog speaks of UTC.
    options = "-c timezone=UTC" + (" -c default_transaction_read_only=on" if read_only else "")
    defaults = {"connect_timeout": CONNECT_TIMEOUT_S, "options": options}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    # A connection that died while it lay idle in the pool is replaced instead of failing its next user.
    return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)


def _turn(engine: Engine) -> AbstractContextManager[object]:
    """Held by the transaction that has the one connection of a database in memory."""
    lock: AbstractContextManager[object] = engine.get_execution_options().get(_TURN, nullcontext())
    return lock


@contextmanager
def _named(engine: Engine) -> Iterator[None]:
    """Database errors as ours, with the database's name and without its password."""
    try:
        yield
    except SQLAlchemyError as error:
        told = _told(error, engine.url)
        remedy = (
            "the file is damaged: restore a backup, or move it away (with its -wal and -shm) and run "
            "covpool store rebuild"
            if engine.dialect.name == "sqlite" and any(sign in told for sign in _DAMAGED)
            else "check that it runs, the URL, its permissions and free space, and try again (repeating is "
            "harmless)"
        )
        raise CatalogError(f"database {shown(engine.url)}: {told}; {remedy}") from error


def _told(error: SQLAlchemyError, url: URL) -> str:
    """The first line of what the driver said, without the password."""
    # Without the statement and its parameters, which SQLAlchemy appends.
    message = str(getattr(error, "orig", None) or error).strip()
    first = (message.splitlines() or [type(error).__name__])[0]
    return first.replace(str(url.password), "***") if url.password else first
