"""Submitting: a job's tasks and records into their tables; what has to run is queued, what runs is shared."""

import json
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.queue.tables import MOST_VALUES, insert_or_update, jobs, lock, now, records, tasks
from covpool.service.queue.task_rows import ANEW, packed, task_row
from covpool.service.queue.values import LIVE, PRIORITIES, Priority, Request, Unfit
from covpool.store.catalog.catalog import Catalog
from covpool.store.database.engines import insert_if_absent
from covpool.store.values.keys import Recipe, canonical_json, sha256

#: Bases of tasks that are added in one transaction: so much is in memory, and others wait that long.
PART_BASES = 32_000_000
#: So few are read and packed within the transaction, in some ten milliseconds.
FEW_BASES = 1_000_000


def submit(
    catalog: Catalog,
    recipe: Recipe,
    requests: Sequence[Request | Unfit],
    notices: list[str],
    priority: Priority,
) -> str:
    """See `Queue.submit`."""
    job = sha256(canonical_json([[_identity(one) for one in requests], notices]))
    wanted = {one.task: one for one in requests if isinstance(one, Request)}
    # In one order everywhere: two submissions that share tasks must not wait for each other.
    keys = sorted(wanted)
    left = list(wanted.values())
    while True:
        *parts, last = _in_parts(left)
        for part in parts:
            bases = _bases_of(catalog, part)
            with catalog.writing() as connection:
                _add(catalog, connection, part, bases, priority)
        bases = _bases_of(catalog, last)
        with catalog.writing() as connection:
            # Cancelling another job that shares tasks added before waits for this one, or was first.
            before = keys if len(last) < len(keys) else []
            for some in _parts(before):
                lock(connection, tasks.c.key.in_(some))
            _add(catalog, connection, last, bases, priority)
            left = [wanted[key] for key in _cancelled(connection, before)]
            if not left:
                _add_job(connection, job, recipe, requests, notices)
                return job


def _in_parts(requests: list[Request]) -> list[list[Request]]:
    """In transactions, the longest sequences first; one at least, which may be empty."""
    parts: list[list[Request]] = [[]]
    bases = 0
    for one in sorted(requests, key=lambda one: (-one.key.length, one.task)):
        bases += one.key.length
        if bases > PART_BASES and parts[-1]:
            parts.append([])
            bases = one.key.length
        parts[-1].append(one)
    return parts


def _bases_of(catalog: Catalog, part: list[Request]) -> dict[str, bytes]:
    """Bases by task, of those that have to be queued as it seems now: read before anybody waits for it.

    Few bases are not worth the look.
    """
    if sum(one.key.length for one in part) < FEW_BASES:
        return {}
    with catalog.reading() as connection:
        lacking, _ = _lacking(catalog, connection, part)
    return {one.task: packed(one) for one in lacking}


def _add(
    catalog: Catalog,
    connection: Connection,
    part: list[Request],
    bases: Mapping[str, bytes],
    priority: Priority,
) -> None:
    """Queue the tasks of a part that have to run, and hurry those that do already."""
    keys = sorted(one.task for one in part)
    # A task that is just ending is waited for here, so that what follows sees its result.
    for some in _parts(keys):
        lock(connection, tasks.c.key.in_(some))
    time = now(connection)
    lacking, complete = _lacking(catalog, connection, part)
    lacking.sort(key=lambda one: one.task)
    rows = [task_row(one, bases.get(one.task) or packed(one), priority, time) for one in lacking]
    insert_or_update(connection, tasks, rows, update=ANEW, where=tasks.c.ended.is_not(None))
    # Of several results the task's row alone tells that all are there.
    several = sorted((one for one in complete if one.asks is not None), key=lambda one: one.task)
    insert_if_absent(connection, tasks, [task_row(one, None, priority, time) for one in several])
    ready = {one.task for one in complete}
    for some in _parts(sorted(ready)):
        other = sa.and_(tasks.c.key.in_(some), tasks.c.ended.is_not(None), tasks.c.state != "done")
        connection.execute(
            sa.update(tasks).where(other).values(state="done", error=None, tokens_done=tasks.c.cost)
        )
    # What another job had queued or cancelled is now wanted, and at least as urgently as this.
    for some in _parts([key for key in keys if key not in ready]):
        live = sa.and_(tasks.c.key.in_(some), tasks.c.state.in_(LIVE))
        connection.execute(sa.update(tasks).where(live, tasks.c.cancel).values(cancel=False))
        rank = PRIORITIES.index(priority)
        connection.execute(sa.update(tasks).where(live, tasks.c.priority > rank).values(priority=rank))


def _lacking(
    catalog: Catalog, connection: Connection, part: list[Request]
) -> tuple[list[Request], list[Request]]:
    """Requests whose tasks have to be queued, and those of which all results are ready."""
    ready = catalog.ready_among(sorted({key for one in part for key in one.results}), connection)
    complete = [one for one in part if ready.issuperset(one.results)]
    left = {one.task: one for one in part if not ready.issuperset(one.results)}
    for some in _parts(list(left)):
        query = sa.select(tasks.c.key).where(tasks.c.key.in_(some), tasks.c.state.in_(LIVE))
        for key in connection.scalars(query):
            del left[key]
    return list(left.values()), complete


def _cancelled(connection: Connection, keys: list[str]) -> list[str]:
    """Those of these tasks that were cancelled; what runs and was to be is not, from now on."""
    found: list[str] = []
    for some in _parts(keys):
        ours = tasks.c.key.in_(some)
        connection.execute(
            sa.update(tasks).where(ours, tasks.c.state.in_(LIVE), tasks.c.cancel).values(cancel=False)
        )
        query = sa.select(tasks.c.key).where(ours, tasks.c.state == "cancelled")
        found += connection.scalars(query)
    return found


def _add_job(
    connection: Connection,
    job: str,
    recipe: Recipe,
    requests: Sequence[Request | Unfit],
    notices: list[str],
) -> None:
    head = {
        "id": job,
        "recipe": recipe.to_json(),
        "notices": json.dumps(notices),
        "created": now(connection),
        "cancelled": None,
    }
    insert_or_update(connection, jobs, [head], update=["cancelled"])
    insert_if_absent(
        connection,
        records,
        [
            {
                "job": job,
                "position": position,
                "name": one.name,
                "key": one.task if isinstance(one, Request) else None,
                "length": one.key.length if isinstance(one, Request) else one.length,
                "cost": one.cost if isinstance(one, Request) else 0,
                "error": None if isinstance(one, Request) else one.error,
            }
            for position, one in enumerate(requests)
        ],
    )


def _identity(one: Request | Unfit) -> list[str | None]:
    return [one.name, one.task] if isinstance(one, Request) else [one.name, None, one.error]


def _parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + MOST_VALUES] for start in range(0, len(keys), MOST_VALUES))
