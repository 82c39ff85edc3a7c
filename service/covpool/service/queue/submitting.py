"""Submitting: tasks into their table; what has to run is queued, and what runs already is shared."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.queue.tables import MOST_VALUES, lock, tasks
from covpool.service.queue.task_rows import ANEW, packed, task_row
from covpool.service.queue.values import LIVE, PRIORITIES, Priority, Request
from covpool.store.catalog.catalog import ready_among
from covpool.store.database.database import Database, seconds
from covpool.store.database.inserts import insert_if_absent, insert_or_update

#: Bases of tasks that are added in one transaction: so much is in memory, and others wait that long.
PART_BASES = 32_000_000
#: So few are read and packed within the transaction, in some ten milliseconds.
FEW_BASES = 1_000_000


def add_tasks(
    database: Database,
    requests: Sequence[Request],
    priority: Priority,
    add_job: Callable[[Connection], None],
) -> None:
    """Queue the tasks of requests that have to run, and add the job that wants them.

    Many bases are added in several transactions, the longest sequences first and the job at last: what a
    submission that was interrupted has queued is run, and shared with the next one.
    """
    wanted = {one.task: one for one in requests}
    # In one order everywhere: two submissions that share tasks must not wait for each other.
    keys = sorted(wanted)
    left = list(wanted.values())
    while True:
        *parts, last = _in_parts(left)
        for part in parts:
            bases = _bases_of(database, part)
            with database.writing() as connection:
                _add(connection, part, bases, priority)
        bases = _bases_of(database, last)
        with database.writing() as connection:
            # Cancelling another job that shares tasks added before waits for this one, or was first.
            before = keys if len(last) < len(keys) else []
            for some in _parts(before):
                lock(connection, tasks.c.key.in_(some))
            _add(connection, last, bases, priority)
            left = [wanted[key] for key in _cancelled(connection, before)]
            if not left:
                add_job(connection)
                return


def _in_parts(requests: list[Request]) -> list[list[Request]]:
    """In transactions, the longest sequences first; one at least, which may be empty."""
    parts: list[list[Request]] = [[]]
    bases = 0
    for one in sorted(requests, key=lambda one: (-one.workload.length, one.task)):
        bases += one.workload.length
        if bases > PART_BASES and parts[-1]:
            parts.append([])
            bases = one.workload.length
        parts[-1].append(one)
    return parts


def _bases_of(database: Database, part: list[Request]) -> dict[str, bytes]:
    """Bases by task, of those that have to be queued as it seems now: read before anybody waits for it.

    Few bases are not worth the look.
    """
    if sum(one.workload.length for one in part) < FEW_BASES:
        return {}
    with database.reading() as connection:
        lacking, _ = _lacking(connection, part)
    return {one.task: packed(one) for one in lacking}


def _add(connection: Connection, part: list[Request], bases: Mapping[str, bytes], priority: Priority) -> None:
    """Queue the tasks of a part that have to run, and hurry those that do already."""
    keys = sorted(one.task for one in part)
    # A task that is just ending is waited for here, so that what follows sees its result.
    for some in _parts(keys):
        lock(connection, tasks.c.key.in_(some))
    time = seconds(connection)
    lacking, complete = _lacking(connection, part)
    lacking.sort(key=lambda one: one.task)
    rows = [task_row(one, bases.get(one.task) or packed(one), priority, time) for one in lacking]
    insert_or_update(connection, tasks, rows, update=ANEW, where=tasks.c.ended.is_not(None))
    # Of several results the task's row alone tells that all are there.
    several = sorted((one for one in complete if not one.single), key=lambda one: one.task)
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


def _lacking(connection: Connection, part: list[Request]) -> tuple[list[Request], list[Request]]:
    """Requests whose tasks have to be queued, and those of which all results are ready."""
    ready = ready_among(connection, sorted({key for one in part for key in one.keys}))
    complete = [one for one in part if ready.issuperset(one.keys)]
    left = {one.task: one for one in part if not ready.issuperset(one.keys)}
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


def _parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + MOST_VALUES] for start in range(0, len(keys), MOST_VALUES))
