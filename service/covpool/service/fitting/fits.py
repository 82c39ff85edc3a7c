"""Fits: bottlenecks asked for over HTTP; durable, leased, and kept as files in the catalog's database.

The file of a fit lies beside the queue: every API process of a service applies it, whichever fitted it.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from covpool.service.database.tables import TABLES
from covpool.service.database.tables import fits as _fits
from covpool.service.errors import RequestError
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database
from covpool.store.poolings.files import load_pooling
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.values.keys import canonical_json

FitState = Literal["queued", "running", "done", "failed"]

#: Seconds for which the list of finished fits is remembered.
_REMEMBERED_S = 1.0
_COLUMNS = (_fits.c.name, _fits.c.request, _fits.c.state, _fits.c.created, _fits.c.error)


@dataclass(frozen=True)
class Fit:
    """A fit asked for.

    Attributes:
        name: of the pooling.
        request: what was asked.
        state: failed when it was refused, or tried too often.
        created: seconds since 1970.
        error: of the last attempt.
    """

    name: str
    request: Mapping[str, Any]
    state: FitState
    created: float
    error: str | None


class Fits:
    """The fits of one database.

    Args:
        database: that holds them.
        lease_s: a fit whose runner is silent this long is taken over.
        max_attempts: times a fit is tried.
    """

    def __init__(self, database: Database, *, lease_s: float = 30.0, max_attempts: int = 3) -> None:
        self._database = with_tables(database, TABLES)
        self._lease_s, self._max_attempts = lease_s, max_attempts
        self._loaded: dict[str, FittedPooling] = {}
        self._read = float("-inf")

    def submit(self, name: str, request: Mapping[str, Any]) -> Fit:
        """Queue a fit; the same request again is the same fit, and a failed name is free.

        Raises:
            RequestError: another request took the name.
        """
        asked = canonical_json(dict(request))
        row = {"request": asked, "state": "queued", "created": time.time(), "attempts": 0, "error": None}
        with self._database.writing() as connection:
            found = connection.execute(sa.select(_fits).where(_fits.c.name == name)).one_or_none()
            if found is None:
                connection.execute(sa.insert(_fits).values(name=name, **row))
            elif found.state == "failed":
                connection.execute(sa.update(_fits).where(_fits.c.name == name).values(**row))
            elif found.request != asked:
                raise RequestError(
                    f"a bottleneck called {name!r} was asked for otherwise; choose another name"
                )
        return self.one(name)

    def one(self, name: str) -> Fit:
        """The fit of this name.

        Raises:
            KeyError: there is none.
        """
        with self._database.reading() as connection:
            found = connection.execute(sa.select(*_COLUMNS).where(_fits.c.name == name)).one_or_none()
        if found is None:
            raise KeyError(name)
        return Fit(found.name, json.loads(found.request), found.state, found.created, found.error)

    def claim(self, worker: str) -> Fit | None:
        """Lease the oldest fit that waits, or whose runner is silent; None when there is none."""
        now = time.time()
        waiting = sa.or_(
            _fits.c.state == "queued", sa.and_(_fits.c.state == "running", _fits.c.lease_until < now)
        )
        with self._database.writing() as connection:
            query = sa.select(*_COLUMNS, _fits.c.attempts).where(waiting).order_by(_fits.c.created).limit(1)
            found = connection.execute(query.with_for_update(skip_locked=True)).one_or_none()
            if found is None:
                return None
            this = sa.update(_fits).where(_fits.c.name == found.name)
            if found.attempts >= self._max_attempts:
                reason = found.error or "its process died each time"
                connection.execute(this.values(state="failed", error=reason))
                return None
            lease = {"worker": worker, "lease_until": now + self._lease_s}
            connection.execute(this.values(state="running", attempts=found.attempts + 1, **lease))
        return Fit(found.name, json.loads(found.request), "running", found.created, found.error)

    def beat(self, name: str, worker: str) -> None:
        """Prolong a lease."""
        self._settle(name, worker, lease_until=time.time() + self._lease_s)

    def finish(self, name: str, worker: str, file: bytes) -> None:
        """Keep the file of a fit; nothing when its lease went to another."""
        self._settle(name, worker, state="done", file=file, error=None, lease_until=None)

    def fail(self, name: str, worker: str, error: str) -> None:
        """End a fit that was refused."""
        self._settle(name, worker, state="failed", error=error[:2000], lease_until=None)

    def file(self, name: str) -> bytes | None:
        """The safetensors file of a fit that is done; None otherwise."""
        with self._database.reading() as connection:
            found = connection.execute(
                sa.select(_fits.c.file).where(_fits.c.name == name)
            ).scalar_one_or_none()
        return None if found is None else bytes(found)

    def served(self, *, fresh: bool = False) -> Mapping[str, FittedPooling]:
        """Every fit that is done, loaded, by name; up to a second old unless it must be fresh."""
        if fresh or time.monotonic() - self._read > _REMEMBERED_S:
            with self._database.reading() as connection:
                done = (
                    connection.execute(sa.select(_fits.c.name).where(_fits.c.state == "done")).scalars().all()
                )
            for name in set(done) - set(self._loaded):
                file = self.file(name)
                if file is not None:
                    self._loaded[name] = _load(file)
            self._read = time.monotonic()
        return self._loaded

    def _settle(self, name: str, worker: str, **values: Any) -> None:
        mine = sa.and_(_fits.c.name == name, _fits.c.worker == worker, _fits.c.state == "running")
        with self._database.writing() as connection:
            connection.execute(sa.update(_fits).where(mine).values(**values))


def _load(file: bytes) -> FittedPooling:
    with tempfile.TemporaryDirectory(prefix="covpool-fit-") as directory:
        path = Path(directory) / "fit.safetensors"
        path.write_bytes(file)
        return load_pooling(path)
