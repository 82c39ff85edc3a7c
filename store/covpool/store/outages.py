"""Outages: a storage or database that is away, full or read-only, as opposed to damage and bad input.

The caller waits and tries again; an outage is not the fault of the input.
"""

import errno
import os
import sqlite3
from uuid import uuid4

from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, ProgrammingError

from covpool.store.arrays.schema import ARRAYS
from covpool.store.errors import CatalogError, OutdatedCatalogError, StorageError
from covpool.store.opened import OpenedStore
from covpool.store.standing import require_arrays_of
from covpool.store.storage.whole_files import PARTIAL

#: On a full disk an empty file can still be made, and one of a few bytes may be.
_LOCAL_BYTES, _REMOTE_BYTES = 1 << 16, 1 << 10

#: Errors of the kernel for a storage as a whole, or for a process that cannot use it now.
_AWAY = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EPERM", "ESTALE", "ENOTCONN", "ETIMEDOUT"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET", "ENODEV", "ENXIO", "EMFILE", "ENFILE"),
        *("EREMOTEIO", "ENOMEDIUM", "ESHUTDOWN", "EFBIG"),
    )
    if hasattr(errno, name)
)


def is_outage(error: BaseException) -> bool:
    """Whether an error, or one of its causes, shows that storage or database are away, full or read-only."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CatalogError):
            return not _is_wrong(cause)
        if isinstance(cause, StorageError | OutdatedCatalogError):
            return True
        if isinstance(cause, OSError) and cause.errno in _AWAY:
            return True
        cause = cause.__cause__
    return False


def _is_wrong(error: CatalogError) -> bool:
    """Whether the database answered and refused the query, for example because a table is missing."""
    cause = error.__cause__
    if isinstance(cause, CatalogError):
        return _is_wrong(cause)
    # SQLite raises an operational error for that too, with its most general code.
    code = getattr(getattr(cause, "orig", None), "sqlite_errorcode", None)
    wrong = isinstance(cause, ProgrammingError | IntegrityError | DataError | NotSupportedError)
    return wrong or code == sqlite3.SQLITE_ERROR


def probe(store: OpenedStore) -> None:
    """Write an object, read it back and delete it.

    Raises:
        StorageError: the arrays are not there, or cannot be written.
        CatalogError: the catalog's database cannot be reached.
        OutdatedCatalogError: the catalog is older than the arrays, and nothing may be written.
    """
    store.require_writable()
    content = os.urandom(_LOCAL_BYTES if store.objects.is_local else _REMOTE_BYTES)
    # In the folder of the rows; `gc` deletes one that an interrupted process left.
    path = f"{ARRAYS}/probe.{uuid4().hex}{PARTIAL}"
    try:
        require_arrays_of(store.database, store.objects, store.where)
        try:
            store.objects.write(path, content)
            read_back = store.objects.read(path)
        finally:
            store.objects.delete(path)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{store.where}: cannot be written ({error.strerror or error}); make room, or fix the mount or "
            "the permissions"
        ) from error
    if read_back != content:
        raise StorageError(f"{store.where}: does not give back what was written; check the storage")
