"""Database: transactions, clock, advisory locks and inserts that all tables share, on SQLite and Postgres.

A writing transaction sees what others have committed and takes its locks before it changes anything
(SQLite: the file's write lock; Postgres: the rows it selects for update). A reading one sees one snapshot.
No exception of the driver leaves a transaction: callers see errors of `covpool.store`.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import randrange
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from covpool.store.database.engines import in_memory, open_engine, redacted, turn_of
from covpool.store.database.sqlite_files import unchanged
from covpool.store.errors import CatalogError, ReadOnlyError
from covpool.store.storage.whole_files import Durability

#: Messages of SQLite for a truncated or overwritten file.
_DAMAGED = ("malformed", "not a database")
#: Class of the locks by which a database is recognised.
_PROBE = 20_261


@dataclass(frozen=True)
class Database:
    """One database.

    Attributes:
        engine: connections to it.
        read_only: whether nothing is written through it.
    """

    engine: Engine
    read_only: bool = False

    @classmethod
    def open(cls, url: str, durability: Durability = "process", *, read_only: bool = False) -> Self:
        """The database at `url`; see `engines.open_engine` for the arguments and errors."""
        return cls(open_engine(url, durability, read_only=read_only), read_only)

    @classmethod
    def in_memory(cls) -> Self:
        """An empty database of this process."""
        return cls(in_memory())

    @property
    def name(self) -> str:
        """Its URL without the password."""
        return redacted(self.engine.url)

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction that writes; committed on leaving, rolled back on an exception.

        Args:
            durable: flushed to the disk when it ends, whatever the durability of the engine.

        Raises:
            CatalogError: the database cannot be reached, or refused.
            ReadOnlyError: it is open for reading only.
        """
        if self.read_only:
            raise ReadOnlyError(
                f"database {self.name}: is open for reading only, so that nothing can be computed, kept or "
                "changed here; ask where the store is open for writing"
            )
        with (
            self._own_errors(),
            turn_of(self.engine),
            self.engine.connect() as connection,
            _flushed(connection, durable),
        ):
            connection.execution_options(write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, from one snapshot.

        Raises:
            CatalogError: the database cannot be reached, or refused.
        """
        with (
            self._own_errors(),
            turn_of(self.engine),
            unchanged(self.engine),
            self.engine.connect() as connection,
        ):
            if _is_postgres(connection):
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def now(self) -> datetime:
        """The time by the database's clock, UTC."""
        with self.reading() as connection:
            return now(connection)

    def is_same(self, other: "Database") -> bool:
        """Whether both are the same database, also under different names.

        Raises:
            CatalogError: a database cannot be reached, or refused.
        """
        if self.engine.dialect.name != other.engine.dialect.name:
            return False
        if self.engine.dialect.name == "sqlite":
            files = [Path(database.engine.url.database or "") for database in (self, other)]
            return all(file.is_file() for file in files) and files[0].samefile(files[1])
        number = randrange(1 << 31)
        held = sa.select(sa.func.pg_advisory_xact_lock(_PROBE, number))
        seen = sa.text(
            "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE locktype = 'advisory' AND classid = :probe AND objid = :number "
            "AND datname = current_database()"
        )
        with self.reading() as holder:
            holder.execute(held)
            with other.reading() as observer:
                return observer.execute(seen, {"probe": _PROBE, "number": number}).first() is not None

    def close(self) -> None:
        """Release its connections."""
        self.engine.dispose()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Database errors as `CatalogError`, with the database's name and without its password."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            message = self._message(error)
            remedy = (
                "the file is damaged: restore a backup, or move it away (with its -wal and -shm) and run "
                "covpool store rebuild"
                if self.engine.dialect.name == "sqlite" and any(sign in message for sign in _DAMAGED)
                else "check that it runs, the URL, its permissions and free space, and try again (repeating "
                "is harmless)"
            )
            raise CatalogError(f"database {self.name}: {message}; {remedy}") from error

    def _message(self, error: Exception) -> str:
        """The first line of the driver's message, without the password."""
        # Without the statement and its parameters, which SQLAlchemy appends.
        message = str(getattr(error, "orig", None) or error).strip()
        first = (message.splitlines() or [type(error).__name__])[0]
        password = self.engine.url.password
        return first.replace(str(password), "***") if password else first


class clock(FunctionElement[datetime]):
    """The time by the database's clock, UTC, as part of another statement."""

    type = sa.DateTime(timezone=True)
    inherit_cache = True


@compiles(clock, "postgresql")
def _on_postgres(*_: Any, **__: Any) -> str:
    return "clock_timestamp()"


@compiles(clock, "sqlite")
def _on_sqlite(*_: Any, **__: Any) -> str:
    # As SQLAlchemy writes times: with microseconds.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class clock_seconds(FunctionElement[float]):
    """The time by the database's clock, in seconds since 1970, as part of another statement."""

    type = sa.Float()
    inherit_cache = True


@compiles(clock_seconds, "postgresql")
def _seconds_on_postgres(*_: Any, **__: Any) -> str:
    return "CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(clock_seconds, "sqlite")
def _seconds_on_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def seconds(connection: Connection) -> float:
    """The time by the database's clock, in seconds since 1970: hosts that share it may have other clocks."""
    if _is_postgres(connection):
        return float(connection.execute(sa.select(clock_seconds())).scalar_one())
    # SQLite has no clock of its own: it uses that of this host.
    return time.time()


def now(connection: Connection) -> datetime:
    """The same as a time, UTC."""
    return datetime.fromtimestamp(seconds(connection), UTC)


def advisory_lock(connection: Connection, subject: str) -> None:
    """Wait until no other transaction holds `subject`, and hold it until this one ends.

    For steps that no row lock can serialise. On SQLite a writing transaction is exclusive anyway.
    """
    if _is_postgres(connection):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(subject, 0))))


@contextmanager
def _flushed(connection: Connection, durable: bool) -> Iterator[None]:
    """Have SQLite flush to the disk at the end of the transaction; other databases always do."""
    driver = connection.connection.driver_connection
    if not durable or _is_postgres(connection) or driver is None:
        yield
        return
    (before,) = driver.execute("PRAGMA synchronous").fetchone()
    driver.execute("PRAGMA synchronous=FULL")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA synchronous={before}")


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def insert_if_absent(connection: Connection, table: sa.Table, rows: list[dict[str, object]]) -> int:
    """Insert those of `rows` that collide with no row already there; returns how many were new.

    Of writers inserting the same row at once one does it, and the others wait for it and skip.
    """
    if not rows:
        return 0
    if _is_postgres(connection):
        # One statement however many rows: what each of them costs the driver is ten times its insertion.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        inserted = connection.execute(_insert_columns(table, tuple(columns)), columns)
    else:
        inserted = connection.execute(_insert_rows(table), rows)
    return inserted.rowcount


def insert_or_update(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, object]],
    update: Sequence[str],
    where: "sa.ColumnElement[bool] | None" = None,
) -> None:
    """Insert rows; where a primary key exists, take over the columns `update` if `where` holds for it."""
    # One construct under two names; SQLAlchemy has no common type for them.
    insert = postgresql.insert(table) if _is_postgres(connection) else sqlite.insert(table)
    values = {name: insert.excluded[name] for name in update}
    if rows:
        connection.execute(
            insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=values, where=where),
            [dict(row) for row in rows],
        )


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
