"""Fits: poolings fitted over HTTP, as tasks of the queue; finished files are kept in its database.

Every API process of a service serves all finished fits, whichever worker ran them.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import RequestError
from covpool.service.queue.tables import TABLES, fitted, tasks
from covpool.service.queue.task_rows import ANEW, fit_key, fit_row
from covpool.service.schemas import State
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, insert_if_absent, insert_or_update, seconds
from covpool.store.poolings.fitted import FittedPooling, load_pooling
from covpool.store.values.keys import canonical_json

#: Seconds for which the list of finished fits is cached.
_REMEMBERED_S = 1.0
_WITHOUT_RESULT = ("failed", "quarantined", "cancelled")


@dataclass(frozen=True)
class Fit:
    """A fit and its state.

    Attributes:
        name: name of the pooling.
        state: failed when it was refused or tried too often.
        error: error of the last attempt.
    """

    name: str
    state: State
    error: str | None


class Fits:
    """The fits of one database: submits, reads and serves them."""

    def __init__(self, database: Database) -> None:
        self._database = with_tables(database, TABLES)
        self._loaded: dict[str, FittedPooling] = {}
        self._read = float("-inf")

    def submit(self, name: str, request: Mapping[str, Any]) -> Fit:
        """Queue a fit; an equal request is the same fit, and the name of a failed fit is free.

        Raises:
            RequestError: another request took the name.
        """
        free = tasks.c.state.in_(_WITHOUT_RESULT)
        with self._database.writing() as connection:
            row = fit_row(name, request, seconds(connection))
            insert_or_update(connection, tasks, [row], update=(*ANEW, "recipe", "asks"), where=free)
            asked = connection.scalar(sa.select(tasks.c.asks).where(tasks.c.key == row["key"]))
        if asked != canonical_json(dict(request)):
            raise RequestError(f"a bottleneck called {name!r} was asked for otherwise; choose another name")
        return self.get(name)

    def get(self, name: str) -> Fit:
        """The fit of this name.

        Raises:
            KeyError: there is none.
        """
        with self._database.reading() as connection:
            query = sa.select(tasks.c.state, tasks.c.error).where(tasks.c.key == fit_key(name))
            row = connection.execute(query).one_or_none()
        if row is None:
            raise KeyError(name)
        return Fit(name, "failed" if row.state == "quarantined" else row.state, row.error)

    def file(self, name: str) -> bytes | None:
        """The safetensors file of a fit that is done; None otherwise."""
        with self._database.reading() as connection:
            content = connection.scalar(sa.select(fitted.c.file).where(fitted.c.name == name))
        return None if content is None else bytes(content)

    def served(self, *, fresh: bool = False) -> Mapping[str, FittedPooling]:
        """Every fit that is done, loaded, by name; up to a second old unless it must be fresh."""
        if fresh or time.monotonic() - self._read > _REMEMBERED_S:
            with self._database.reading() as connection:
                done = set(connection.scalars(sa.select(fitted.c.name)))
            for name in done - set(self._loaded):
                file = self.file(name)
                if file is not None:
                    self._loaded[name] = _load(file)
            self._read = time.monotonic()
        return self._loaded


def keep_file(connection: Connection, name: str, file: bytes) -> None:
    """Keep the file of a fit, in the transaction that ends its task."""
    insert_if_absent(connection, fitted, [{"name": name, "file": file}])


def _load(file: bytes) -> FittedPooling:
    with tempfile.TemporaryDirectory(prefix="covpool-fit-") as directory:
        path = Path(directory) / "fit.safetensors"
        path.write_bytes(file)
        return load_pooling(path)
