"""Leases: what a worker does with the queue. It claims tasks, keeps them by its heartbeat, and ends each.

A worker holds tasks under a lease that it renews. A task whose lease expires is free again. A task whose
attempts are used up is quarantined with its last error.
"""

import json
import threading
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import LeaseLostError
from covpool.service.queue.tables import CLAIM_ORDER, TABLES, lock, tasks
from covpool.service.queue.task_rows import FIT_PRIORITY, workload_of
from covpool.service.queue.values import FitTask, Task
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, clock_seconds, seconds

_FREED = {"worker": None, "lease_until": None, "tokens_done": 0}


class TaskLeases:
    """The leases on tasks of one database.

    Args:
        database: of the catalog, in which results become ready as their tasks end.
        lease_s: seconds without a heartbeat after which a task is taken over.
        max_attempts: times a task is tried before it is quarantined.
    """

    def __init__(self, database: Database, *, lease_s: float = 30.0, max_attempts: int = 3) -> None:
        self._database = with_tables(database, TABLES)
        self._lease_s, self._max_attempts = lease_s, max_attempts
        self._swept = 0.0
        #: Whether the last claim found nothing.
        self._idle = True
        self._sweeping = threading.Lock()

    def claim(
        self, worker: str, weights: Collection[str] | None = None, *, tokens: int = 1, count: int = 1
    ) -> list[Task]:
        """Lease the first free extraction to `worker`, with others of its recipe; empty when none is free.

        Interactive tasks come before bulk, older before newer, and of one submission the costliest first.
        A task that was tried before is leased alone.

        Args:
            worker: name of the worker that holds the leases.
            weights: model weights that the worker can run; it takes only tasks of these.
            tokens: most that the tasks may cost together, unless the first alone costs more.
            count: most tasks to lease.
        """
        self._sweep_now_and_then()
        rows = self._claim(worker, weights, tokens, count)
        self._idle = not rows
        return [Task(row.key, workload_of(row), row.cost, attempts) for row, attempts in rows]

    def claim_fit(self, worker: str) -> list[FitTask]:
        """Lease the first free fit to `worker`; empty when none is free."""
        self._sweep_now_and_then()
        with self._database.reading() as connection:
            if connection.scalar(_FITS.any) is None:
                return []
        with self._database.writing() as connection:
            rows = connection.execute(_FITS.take_first, {"by": worker, "lease_s": self._lease_s}).all()
        return [FitTask(row.key, json.loads(row.asks), row.attempts) for row in rows]

    def heartbeat(self, worker: str, tokens_done: Mapping[str, int]) -> set[str]:
        """Renew leases and record progress; returns keys that the worker should drop.

        Those were cancelled, or are no longer leased to this worker. The worker gives back what it drops.
        """
        keep = set()
        with self._database.writing() as connection:
            until = clock_seconds() + self._lease_s
            for key in sorted(tokens_done):
                renewed = connection.execute(
                    sa.update(tasks)
                    .where(_held(worker, key))
                    .values(lease_until=until, tokens_done=tokens_done[key])
                    .returning(tasks.c.cancel)
                ).one_or_none()
                if renewed is not None and not renewed.cancel:
                    keep.add(key)
        return set(tokens_done) - keep

    def fail(self, key: str, worker: str, error: str, *, retry: bool) -> None:
        """Give a task back after an error: to be tried again while attempts are left, or failed for good."""
        with self._database.writing() as connection:
            held = _held(worker, key)
            if retry:
                self._put_back(connection, held, error)
            else:
                failed = {"state": "failed", "bases": None, "error": error, "ended": clock_seconds()}
                connection.execute(sa.update(tasks).where(held).values(failed | _FREED))

    def give_back(self, worker: str, keys: Collection[str]) -> None:
        """Give back tasks that did not fail: they are free at once, and the attempt does not count."""
        with self._database.writing() as connection:
            for key in sorted(keys):
                self._put_back(connection, _held(worker, key))

    def release(self, worker: str) -> None:
        """Free the tasks of a worker known to be dead, so that they are taken over at once."""
        with self._database.writing() as connection:
            held = sa.and_(tasks.c.worker == worker, tasks.c.state == "running")
            lock(connection, held)
            self._put_back(connection, held, "its worker died")

    def sweep(self) -> int:
        """Free or quarantine the tasks whose lease has expired; returns how many."""
        with self._database.reading() as connection:
            if connection.scalar(sa.select(tasks.c.key).where(_expired(connection)).limit(1)) is None:
                return 0
        with self._database.writing() as connection:
            # Asked again under the lock: the worker may have sent a heartbeat in the meantime.
            expired = _expired(connection)
            lock(connection, expired)
            return self._put_back(connection, expired, "its lease expired")

    def put_off_sweep(self) -> None:
        """Sweep no sooner than in half the time of a lease.

        Called at the start and after an outage of the database: other workers renew their leases first.
        """
        self._swept = time.monotonic() + self._lease_s / 4

    def _sweep_now_and_then(self) -> None:
        with self._sweeping:
            if time.monotonic() < self._swept + self._lease_s / 4:
                return
            self._swept = time.monotonic()
        self.sweep()

    def _claim(
        self, worker: str, weights: Collection[str] | None, tokens: int, count: int
    ) -> list[tuple["sa.Row[tuple[object, ...]]", int]]:
        """Rows that were taken, each with how often it was claimed."""
        find, ours = (_ANY, {}) if weights is None else (_OF_WEIGHTS, {"runnable": list(weights)})
        if self._idle:
            with self._database.reading() as connection:
                # Idle workers ask often: they must not take the write lock to learn that no task is free.
                if connection.scalar(find.any, ours) is None:
                    return []
        with self._database.writing() as connection:
            lease = {"by": worker, "lease_s": self._lease_s}
            if count == 1:
                return [(row, row.attempts) for row in connection.execute(find.take_first, ours | lease)]
            first = connection.execute(find.first, ours).one_or_none()
            if first is None:
                return []
            claimed = [first]
            # A task that ran when its worker died is tried alone: it may have been the cause.
            if first.attempts == 0 and first.cost < tokens:
                left = tokens - first.cost
                alike = {"recipe": first.recipe_digest, "first": first.key, "left": left, "most": count - 1}
                mates = connection.execute(find.mates, ours | alike).all()
                for mate in mates:
                    if mate.cost <= left:
                        claimed.append(mate)
                        left -= mate.cost
            connection.execute(_TAKE_ALL, lease | {"keys": [row.key for row in claimed]})
        return [(row, row.attempts + 1) for row in claimed]

    def _put_back(
        self, connection: Connection, which: "sa.ColumnElement[bool]", error: str | None = None
    ) -> int:
        """Queue tasks again, with their last error; without one the attempt does not count.

        Tasks that were cancelled while they ran end, and those whose attempts are used up are quarantined.
        """
        counts = error is not None
        cancelled = tasks.c.cancel
        used_up = sa.and_(sa.literal(counts), tasks.c.attempts >= self._max_attempts)
        why = sa.cast(tasks.c.attempts, sa.String) + f" attempts, then set aside; the last error: {error}"
        ends = sa.or_(cancelled, used_up)
        values = {
            "state": sa.case((cancelled, "cancelled"), (used_up, "quarantined"), else_="queued"),
            "attempts": tasks.c.attempts if counts else tasks.c.attempts - 1,
            "error": sa.case(
                (cancelled, tasks.c.error), (used_up, why), else_=error if counts else tasks.c.error
            ),
            "bases": sa.case((ends, None), else_=tasks.c.bases),
            "ended": sa.case((ends, clock_seconds()), else_=None),
            "cancel": False,
        }
        return connection.execute(sa.update(tasks).where(which).values(values | _FREED)).rowcount


def finish_task(connection: Connection, key: str, worker: str) -> None:
    """Mark a task done, in the transaction that makes its result readable.

    Raises:
        LeaseLostError: the task is no longer leased to this worker; the transaction must not be committed.
    """
    done = connection.execute(_FINISH, {"which": key, "holder": worker})
    if done.rowcount != 1:
        raise LeaseLostError(f"task {key}: no longer leased to {worker}; the result is left to its holder")


def _held(worker: str, key: str) -> "sa.ColumnElement[bool]":
    return sa.and_(tasks.c.key == key, tasks.c.worker == worker, tasks.c.state == "running")


def _expired(connection: Connection) -> "sa.ColumnElement[bool]":
    return sa.and_(tasks.c.state == "running", tasks.c.lease_until < seconds(connection))


_FINISH = (
    sa.update(tasks)
    .where(
        tasks.c.key == sa.bindparam("which"),
        tasks.c.worker == sa.bindparam("holder"),
        tasks.c.state == "running",
    )
    .values(
        state="done",
        bases=None,
        error=None,
        worker=None,
        lease_until=None,
        cancel=False,
        tokens_done=tasks.c.cost,
        ended=clock_seconds(),
    )
)


# Statements are built once, so that their compiled text is reused.
_TAKE = sa.update(tasks).values(
    state="running",
    worker=sa.bindparam("by"),
    lease_until=clock_seconds() + sa.bindparam("lease_s", type_=sa.Float),
    attempts=tasks.c.attempts + 1,
    tokens_done=0,
)
_TAKE_ALL = _TAKE.where(tasks.c.key.in_(sa.bindparam("keys", expanding=True)))


class _Claim(NamedTuple):
    """Statements of a claim: find any free task, take the first, select the first, select others like it."""

    any: "sa.Select[tuple[str]]"
    take_first: "sa.sql.dml.ReturningUpdate[tuple[object, ...]]"
    first: "sa.Select[tuple[object, ...]]"
    mates: "sa.Select[tuple[object, ...]]"

    @classmethod
    def of(cls, free: "sa.ColumnElement[bool]") -> "_Claim":
        """The statements over the tasks for which `free` holds."""
        in_order = sa.select(tasks).where(free).order_by(*CLAIM_ORDER)
        mates = in_order.where(
            tasks.c.recipe_digest == sa.bindparam("recipe"),
            tasks.c.attempts == 0,
            tasks.c.key != sa.bindparam("first"),
            tasks.c.cost <= sa.bindparam("left"),
        ).limit(sa.bindparam("most"))
        first = in_order.limit(1).with_for_update(skip_locked=True)
        return cls(
            sa.select(tasks.c.key).where(free).limit(1),
            _TAKE.where(tasks.c.key == first.with_only_columns(tasks.c.key).scalar_subquery()).returning(
                *tasks.c
            ),
            first,
            mates.with_for_update(skip_locked=True),
        )


_QUEUED = tasks.c.state == "queued"
_ANY = _Claim.of(sa.and_(_QUEUED, tasks.c.weights != ""))
_OF_WEIGHTS = _Claim.of(sa.and_(_QUEUED, tasks.c.weights.in_(sa.bindparam("runnable", expanding=True))))
# The index of the order has priority and cost: no queued extraction is read to learn that there is no fit.
_FITS = _Claim.of(
    sa.and_(_QUEUED, tasks.c.priority == FIT_PRIORITY, tasks.c.cost == 0, tasks.c.kind == "fit")
)
