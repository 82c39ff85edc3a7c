"""Leases: a worker claims tasks, keeps them by its heartbeat, and ends or loses each."""

import zlib
from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import LeaseLostError
from covpool.service.queue.tables import lock, now, tasks
from covpool.service.queue.values import Task
from covpool.store.catalog import Catalog
from covpool.store.keys import MomentsKey, Recipe

_FREED = {"worker": None, "lease_until": None, "tokens_done": 0}


def claim(
    catalog: Catalog,
    worker: str,
    weights: Collection[str] | None,
    *,
    lease_s: float,
    tokens: int,
    count: int,
) -> list[Task]:
    """See `Queue.claim`."""
    free = tasks.c.state == "queued"
    if weights is not None:
        free = sa.and_(free, tasks.c.weights.in_(list(weights)))
    with catalog.reading() as connection:
        # Idle workers ask often: they must not take the write lock to learn that nothing is there.
        if connection.scalar(sa.select(tasks.c.key).where(free).limit(1)) is None:
            return []
    in_order = (tasks.c.priority, tasks.c.created, tasks.c.key)
    with catalog.writing() as connection:
        first = connection.execute(
            sa.select(tasks).where(free).order_by(*in_order).limit(1).with_for_update(skip_locked=True)
        ).one_or_none()
        if first is None:
            return []
        claimed = [first]
        # One that was under way when its worker died is tried alone: it may have been the cause.
        if first.attempts == 0 and count > 1 and first.cost < tokens:
            mates = connection.execute(
                sa.select(tasks)
                .where(
                    free,
                    tasks.c.recipe_digest == first.recipe_digest,
                    tasks.c.attempts == 0,
                    tasks.c.key != first.key,
                    tasks.c.cost <= tokens - first.cost,
                )
                .order_by(*in_order)
                .limit(count - 1)
                .with_for_update(skip_locked=True)
            ).all()
            left = tokens - first.cost
            for mate in mates:
                if mate.cost <= left:
                    claimed.append(mate)
                    left -= mate.cost
        connection.execute(
            sa.update(tasks)
            .where(tasks.c.key.in_([row.key for row in claimed]))
            .values(
                state="running",
                worker=worker,
                lease_until=now(connection) + lease_s,
                attempts=tasks.c.attempts + 1,
                tokens_done=0,
            )
        )
    return [
        Task(
            MomentsKey(row.sequence, row.length, Recipe.from_json(row.recipe)),
            zlib.decompress(row.bases).decode("ascii"),
            row.cost,
            row.attempts + 1,
        )
        for row in claimed
    ]


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
    done = connection.execute(
        sa.update(tasks)
        .where(_held(worker, key))
        .values(
            state="done",
            bases=None,
            error=None,
            worker=None,
            lease_until=None,
            cancel=False,
            tokens_done=tasks.c.cost,
            ended=now(connection),
        )
    )
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
