"""Submitting: adds tasks to their table; tasks that have to run are queued, running ones are shared."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.queue.tables import MOST_VALUES, lock, tasks
from covpool.service.queue.task_rows import ANEW, packed, task_row
from covpool.service.queue.values import LIVE, PRIORITIES, Request
from covpool.service.schemas import Priority
from covpool.store.catalog.catalog import ready_among
from covpool.store.database.database import Database, insert_if_absent, insert_or_update, seconds

#: Bases of tasks that are added in one transaction; this bounds the memory and the wait of others.
PART_BASES = 32_000_000
#: Fewer bases than this are read and packed within the transaction, in about ten milliseconds.
FEW_BASES = 1_000_000


def add_tasks(
    database: Database,
    requests: Sequence[Request],
    priority: Priority,
    add_job: Callable[[Connection, float], None],
) -> None:
    """Queue the tasks of requests that have to run, and add their job by `add_job`, at the same time.

    Many bases are added in several transactions, the longest sequences first and the job last. What an
    interrupted submission has queued is run, and shared with the next submission.
    """
    wanted = {request.task: request for request in requests}
    # Always in one order: two submissions that share tasks must not wait for each other.
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
            # Cancelling another job that shares earlier tasks waits for this transaction, or came first.
            before = keys if len(last) < len(keys) else []
            for some in _parts(before):
                lock(connection, tasks.c.key.in_(some))
            time = _add(connection, last, bases, priority)
            left = [wanted[key] for key in _cancelled(connection, before)]
            if not left:
                add_job(connection, time)
                return


def _in_parts(requests: list[Request]) -> list[list[Request]]:
    """Requests by transaction, the longest sequences first; at least one part, which may be empty."""
    parts: list[list[Request]] = [[]]
    bases = 0
    for request in sorted(requests, key=lambda request: (-request.workload.length, request.task)):
        bases += request.workload.length
        if bases > PART_BASES and parts[-1]:
            parts.append([])
            bases = request.workload.length
        parts[-1].append(request)
    return parts


def _bases_of(database: Database, part: list[Request]) -> dict[str, bytes]:
    """Bases by task, for tasks that seem to need queueing: read before the transaction, so no one waits.

    Empty for few bases, which are read within the transaction.
    """
    if sum(request.workload.length for request in part) < FEW_BASES:
        return {}
    with database.reading() as connection:
        lacking, _ = _lacking(connection, part)
    return {request.task: packed(request) for request in lacking}


def _add(
    connection: Connection, part: list[Request], bases: Mapping[str, bytes], priority: Priority
) -> float:
    """Queue the tasks of a part that have to run, and raise the priority of those queued already.

    Returns the time at which they were queued.
    """
    keys = sorted(request.task for request in part)
    # Wait for a task that is just ending, so that the queries below see its result.
    for some in _parts(keys):
        lock(connection, tasks.c.key.in_(some))
    time = seconds(connection)
    lacking, complete = _lacking(connection, part)
    lacking.sort(key=lambda request: request.task)
    rows = [task_row(new, bases.get(new.task) or packed(new), priority, time) for new in lacking]
    insert_or_update(connection, tasks, rows, update=ANEW, where=tasks.c.ended.is_not(None))
    # For a task with several results, only its row says that all are ready.
    several = [
        request for request in sorted(complete, key=lambda request: request.task) if not request.single
    ]
    insert_if_absent(connection, tasks, [task_row(request, None, priority, time) for request in several])
    ready = {request.task for request in complete}
    for some in _parts(sorted(ready)):
        other = sa.and_(tasks.c.key.in_(some), tasks.c.ended.is_not(None), tasks.c.state != "done")
        connection.execute(
            sa.update(tasks).where(other).values(state="done", error=None, tokens_done=tasks.c.cost)
        )
    # Tasks that another job queued or cancelled are needed now, at least as urgently as this job.
    for some in _parts([key for key in keys if key not in ready]):
        live = sa.and_(tasks.c.key.in_(some), tasks.c.state.in_(LIVE))
        rank = PRIORITIES.index(priority)
        less = sa.or_(tasks.c.cancel, tasks.c.priority > rank)
        urgent = sa.case((tasks.c.priority > rank, rank), else_=tasks.c.priority)
        connection.execute(sa.update(tasks).where(live, less).values(cancel=False, priority=urgent))
    return time


def _lacking(connection: Connection, part: list[Request]) -> tuple[list[Request], list[Request]]:
    """Requests whose tasks have to be queued, and those of which all results are ready."""
    ready = ready_among(connection, sorted({key for request in part for key in request.keys}))
    complete = [request for request in part if ready.issuperset(request.keys)]
    left = {request.task: request for request in part if not ready.issuperset(request.keys)}
    for some in _parts(list(left)):
        query = sa.select(tasks.c.key).where(tasks.c.key.in_(some), tasks.c.state.in_(LIVE))
        for key in connection.scalars(query):
            del left[key]
    return list(left.values()), complete


def _cancelled(connection: Connection, keys: list[str]) -> list[str]:
    """Keys of these tasks that were cancelled; running ones marked for cancellation go on."""
    cancelled: list[str] = []
    for some in _parts(keys):
        ours = tasks.c.key.in_(some)
        connection.execute(
            sa.update(tasks).where(ours, tasks.c.state.in_(LIVE), tasks.c.cancel).values(cancel=False)
        )
        query = sa.select(tasks.c.key).where(ours, tasks.c.state == "cancelled")
        cancelled += connection.scalars(query)
    return cancelled


def _parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + MOST_VALUES] for start in range(0, len(keys), MOST_VALUES))
