"""SQLite files for reading only: also on a file system that cannot be written, or in another's folder.

SQLite reads a database in WAL mode with a second file next to it, which it makes when there is none. Where
it cannot, and no log is there either, the file is the whole database and nobody writes it. It is opened as
such for one transaction at a time, and what was read counts only if the file has not changed meanwhile. A log
without SQLite's file is read from a copy of both.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from covpool.store.errors import CatalogError

#: Seconds that a reader waits while the log is set up again by another process.
_BUSY_S = 30
_CACHE_KIB = 32 * 1024
_FILE = "immutable_file"


def file_engine(url: URL) -> Engine:
    """An engine that reads the file, also while others write it; not if `log_needs_copy`."""
    path = Path(url.database or "").absolute()
    immutable = not os.access(path.parent, os.W_OK)
    engine = sa.create_engine(
        url,
        creator=lambda: _connect(path),
        # Whether the file is the database is decided anew for each transaction.
        poolclass=sa.NullPool if immutable else sa.QueuePool,
        execution_options={_FILE: path} if immutable else {},
    )

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own transaction control is switched off: a transaction is one snapshot.
        connection.exec_driver_sql("BEGIN")

    if not immutable:
        made = [side for side in _sides(path) if not side.exists()]
        sa.event.listen(engine, "engine_disposed", lambda _: _tidy(path) if made else None)
    return engine


@contextmanager
def unchanged(engine: Engine) -> Iterator[None]:
    """Refuse what was read from an immutable file that was written meanwhile.

    Raises:
        CatalogError: it was.
    """
    path: Path | None = engine.get_execution_options().get(_FILE)
    before = None if path is None else _state(path)
    yield
    if path is not None and _state(path) != before:
        raise CatalogError(f"{path}: was written while it was read; try again (repeating is harmless)")


def _connect(path: Path) -> sqlite3.Connection:
    # A log that is empty, or none: everything is in the file.
    immutable = not os.access(path.parent, os.W_OK) and not _size(_sides(path)[0])
    address = f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if immutable else "")
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_S, check_same_thread=False, isolation_level=None
    )
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return connection


def copy_with_log(path: Path, engine: Engine) -> None:
    """Have the database in memory of `engine` hold what a file and its log do.

    Raises:
        CatalogError: there is no room for a copy of the files on the way.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="covpool-") as folder:
            for file in (path, _sides(path)[0]):
                shutil.copy(file, folder)
            with closing(sqlite3.connect(Path(folder, path.name))) as source:
                _fill(engine, source)
    except (OSError, sqlite3.Error) as error:
        raise CatalogError(
            f"{path}: its write-ahead log can be read only from a copy, which could not be made ({error}); "
            "make room for temporary files, or copy the store to where it can be written"
        ) from error


def copy_into(engine: Engine, source: Connection) -> None:
    """Have the database in memory of `engine` hold what a connection sees of another."""
    driver = source.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    _fill(engine, driver)


def copy_bytes(engine: Engine, content: bytes, where: str) -> None:
    """Have the database in memory of `engine` hold what the bytes of a SQLite file do.

    Raises:
        CatalogError: they are none, or there is no room for a temporary file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="covpool-") as folder:
            file = Path(folder, "catalog.sqlite")
            file.write_bytes(content)
            with closing(sqlite3.connect(f"file:{quote(str(file))}?immutable=1", uri=True)) as source:
                _fill(engine, source)
    except (OSError, sqlite3.Error) as error:
        raise CatalogError(f"{where}: is no SQLite file that reads ({error}); back up again") from error


def _fill(engine: Engine, source: sqlite3.Connection) -> None:
    target = engine.raw_connection()
    try:
        assert isinstance(target.driver_connection, sqlite3.Connection)
        source.backup(target.driver_connection)
    finally:
        target.close()


def log_needs_copy(path: Path) -> bool:
    """Whether there is a log that SQLite cannot read for want of a file of its own that it cannot make."""
    log, shared = _sides(path)
    return bool(_size(log)) and not shared.exists() and not os.access(path.parent, os.W_OK)


def _tidy(path: Path) -> None:
    """Delete the files that SQLite made for readers, if no process uses them."""
    with suppress(sqlite3.Error):
        if _sides(path)[0].exists() and not _size(_sides(path)[0]):
            with closing(sqlite3.connect(path)) as last:
                last.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _sides(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
