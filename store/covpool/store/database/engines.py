"""Engines: connections to SQLite and Postgres, opened in one way."""

import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from threading import RLock

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError

from covpool.store.database.sqlite_files import copy_with_log, file_engine, log_needs_copy
from covpool.store.errors import LocationError
from covpool.store.storage.whole_files import Durability

#: Seconds until an unreachable Postgres server is given up.
CONNECT_TIMEOUT_S = 10

#: Seconds that a writer on SQLite waits for its turn.
BUSY_S = 30

#: Pages (of 4 KiB) in the write-ahead log before they are copied to the database, which waits for the disk:
#: a page written many times over is copied once.
_WAL_PAGES = 10_000

#: Most that a connection keeps of the database in memory, in KiB.
_CACHE_KIB = 32 * 1024

_TURN = "turn"
_POSTGRES_DRIVER = "postgresql+psycopg"


def open_engine(url: str, durability: Durability = "process", *, read_only: bool = False) -> Engine:
    """An engine for `url`: sqlite:///path (WAL mode), sqlite:// (in memory), or postgresql://user:password@host/name.

    Args:
        url: of the database.
        durability: of its transactions, see `covpool.store.storage.whole_files`.
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
        return _reader(parsed) if read_only else _sqlite(parsed, durability)
    if parsed.drivername in ("postgres", "postgresql", _POSTGRES_DRIVER):
        return _postgres(parsed.set(drivername=_POSTGRES_DRIVER), read_only)
    raise LocationError(
        f"{parsed.drivername}: not a database that holds a catalog; write sqlite:///path or "
        "postgresql://user:password@host/name"
    )


def redacted(url: str | URL) -> str:
    """`url` as it may be shown: without its password."""
    return sa.make_url(url).render_as_string(hide_password=True)


def _sqlite(url: URL, durability: Durability) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    # One connection is the database: every thread shares it, one transaction at a time.
    shared: dict[str, object] = {
        "poolclass": sa.StaticPool,
        "connect_args": {"check_same_thread": False},
        "execution_options": {_TURN: RLock()},
    }
    engine = sa.create_engine(url, **(shared if in_memory else {}))

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
    if not log_needs_copy(path):
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
            f"{redacted(url)}: the Postgres driver is not installed; pip install 'covpool[postgres]'"
        )
    if not url.database:
        raise LocationError(f"{redacted(url)}: names no database; write postgresql://user:password@host/name")
    # Times come back in the session's zone; the catalog speaks of UTC.
    options = "-c timezone=UTC" + (" -c default_transaction_read_only=on" if read_only else "")
    defaults = {"connect_timeout": CONNECT_TIMEOUT_S, "options": options}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    # A connection that died while it lay idle in the pool is replaced instead of failing its next user.
    return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)


def turn_of(engine: Engine) -> AbstractContextManager[object]:
    """Held by the transaction that has the one connection of a database in memory."""
    lock: AbstractContextManager[object] = engine.get_execution_options().get(_TURN, nullcontext())
    return lock
