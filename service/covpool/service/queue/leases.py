"""Leases: a worker claims tasks, keeps them by its heartbeat, and ends or loses each."""

import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.extractor.extraction.regions import Region
from covpool.service.errors import LeaseLostError
from covpool.service.queue.tables import CLAIM_ORDER, lock, now, tasks
from covpool.service.queue.task_rows import read_asks
from covpool.service.queue.values import Task
from covpool.store.catalog.catalog import Catalog
from covpool.store.values.keys import MomentsKey, Recipe

_FREED = {"worker": None, "lease_until": None, "tokens_done": 0}


def claim(
    catalog: Catalog,
    worker: str,
    weights: Collection[str] | None,
    *,
    lease_s: float,
    tokens: int,
    count: int,
    idle: bool,
) -> list[Task]:
    """See `Queue.claim`."""
    ours = {} if weights is None else {"runnable": list(weights)}
    find = _CLAIMS[weights is not None]
    if idle:
        with catalog.reading() as connection:
            # Idle workers ask often: they must not take the write lock to learn that nothing is there.
            if connection.scalar(find.any, ours) is None:
                return []
    with catalog.writing() as connection:
        lease = {"by": worker, "until": now(connection) + lease_s}
        if count == 1:
            return [_task(row, row.attempts) for row in connection.execute(find.one, ours | lease)]
        first = connection.execute(find.first, ours).one_or_none()
        if first is None:
            return []
        claimed = [first]
        # One that was under way when its worker died is tried alone: it may have been the cause.
        if first.attempts == 0 and first.cost < tokens:
            left = tokens - first.cost
            alike = {"recipe": first.recipe_digest, "first": first.key, "left": left, "most": count - 1}
            mates = connection.execute(find.mates, ours | alike).all()
            for mate in mates:
                if mate.cost <= left:
                    claimed.append(mate)
                    left -= mate.cost
        connection.execute(_TAKE_ALL, lease | {"keys": [row.key for row in claimed]})
    return [_task(row, row.attempts + 1) for row in claimed]


def heartbeat(catalog: Catalog, worker: str, tokens_done: Mapping[str, int], lease_s: float) -> set[str]:
    """See `Queue.heartbeat`."""
    keep = set()
    with catalog.writing() as connection:
        until = now(connection) + lease_s
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


def finish(connection: Connection, key: str, worker: str) -> None:
    """See `Queue.finish`."""
    done = connection.execute(_FINISH, {"which": key, "holder": worker, "now": now(connection)})
    if done.rowcount != 1:
        raise LeaseLostError(f"task {key}: no longer leased to {worker}; the result is left to its holder")


def fail(catalog: Catalog, key: str, worker: str, error: str, *, retry: bool, max_attempts: int) -> None:
    """See `Queue.fail`."""
    with catalog.writing() as connection:
        held = _held(worker, key)
        if retry:
            _put_back(connection, held, error=error, max_attempts=max_attempts)
        else:
            connection.execute(
                sa.update(tasks)
                .where(held)
                .values(state="failed", bases=None, error=error, ended=now(connection), **_FREED)
            )


def give_back(catalog: Catalog, worker: str, keys: Collection[str]) -> None:
    """See `Queue.give_back`."""
    with catalog.writing() as connection:
        for key in sorted(keys):
            _end_cancelled(connection, _held(worker, key))
            connection.execute(
                sa.update(tasks)
                .where(_held(worker, key))
                .values(state="queued", attempts=tasks.c.attempts - 1, **_FREED)
            )


def release(catalog: Catalog, worker: str, max_attempts: int) -> None:
    """See `Queue.release`."""
    with catalog.writing() as connection:
        held = sa.and_(tasks.c.worker == worker, tasks.c.state == "running")
        lock(connection, held)
        _put_back(connection, held, error="its worker died", max_attempts=max_attempts)


def sweep(catalog: Catalog, max_attempts: int) -> int:
    """See `Queue.sweep`."""
    with catalog.reading() as connection:
        expired = sa.and_(tasks.c.state == "running", tasks.c.lease_until < now(connection))
        keys = list(connection.scalars(sa.select(tasks.c.key).where(expired).order_by(tasks.c.key)))
    if not keys:
        return 0
    with catalog.writing() as connection:
        # Asked again under the lock: meanwhile its worker may have been heard of.
        expired = sa.and_(tasks.c.state == "running", tasks.c.lease_until < now(connection))
        return sum(
            _put_back(
                connection,
                sa.and_(tasks.c.key == key, expired),
                error="its worker fell silent",
                max_attempts=max_attempts,
            )
            for key in keys
        )


def _task(row: "sa.Row[tuple[object, ...]]", attempts: int) -> Task:
    key = MomentsKey(row.sequence, row.length, _recipe(row.recipe))
    ordinary = (key.recipe.layer,), (Region.whole(key.length),)
    layers, regions = ordinary if row.asks is None else read_asks(row.asks)
    bases = zlib.decompress(row.bases).decode("ascii")
    return Task(row.key, key, bases, row.cost, attempts, layers, regions)


@lru_cache(maxsize=1024)
def _recipe(text: str) -> Recipe:
    return Recipe.from_json(text)


def _held(worker: str, key: str) -> "sa.ColumnElement[bool]":
    return sa.and_(tasks.c.key == key, tasks.c.worker == worker, tasks.c.state == "running")


def _put_back(
    connection: Connection, which: "sa.ColumnElement[bool]", *, error: str, max_attempts: int
) -> int:
    """Queue tasks again, each with its last error; those that used up their attempts are quarantined."""
    ended = _end_cancelled(connection, which)
    why = sa.cast(tasks.c.attempts, sa.String) + " attempts, then set aside; the last error: " + error
    used_up = sa.and_(which, tasks.c.attempts >= max_attempts)
    ended += connection.execute(
        sa.update(tasks)
        .where(used_up)
        .values(state="quarantined", bases=None, error=why, ended=now(connection), **_FREED)
    ).rowcount
    again = sa.update(tasks).where(which).values(state="queued", error=error, **_FREED)
    return int(ended + connection.execute(again).rowcount)


def _end_cancelled(connection: Connection, which: "sa.ColumnElement[bool]") -> int:
    """End those that were to be cancelled while they ran."""
    values = {"state": "cancelled", "bases": None, "cancel": False, "ended": now(connection), **_FREED}
    return connection.execute(sa.update(tasks).where(which, tasks.c.cancel).values(values)).rowcount


# What every task costs is built once: SQLAlchemy then finds the compiled text without looking.

_TAKE = sa.update(tasks).values(
    state="running",
    worker=sa.bindparam("by"),
    lease_until=sa.bindparam("until"),
    attempts=tasks.c.attempts + 1,
    tokens_done=0,
)
_TAKE_ALL = _TAKE.where(tasks.c.key.in_(sa.bindparam("keys", expanding=True)))


class _Claim(NamedTuple):
    """Statements of a claim: whether anything is free, the first taken, the first, others of its recipe."""

    any: "sa.Select[tuple[str]]"
    one: "sa.sql.dml.ReturningUpdate[tuple[object, ...]]"
    first: "sa.Select[tuple[object, ...]]"
    mates: "sa.Select[tuple[object, ...]]"

    @classmethod
    def of(cls, free: "sa.ColumnElement[bool]") -> "_Claim":
        """Those over the tasks for which `free` holds."""
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
_OF_WEIGHTS = tasks.c.weights.in_(sa.bindparam("runnable", expanding=True))
#: Of any weights, and of some only.
_CLAIMS = (_Claim.of(_QUEUED), _Claim.of(sa.and_(_QUEUED, _OF_WEIGHTS)))
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
        ended=sa.bindparam("now"),
    )
)
