"""Jobs: an ordered list of named records over shared tasks; looked at and cancelled."""

import json
from collections import defaultdict
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import JobNotFoundError
from covpool.service.queue.tables import jobs, lock, now, records, tasks
from covpool.service.queue.values import LIVE, Job, Progress, Record
from covpool.service.schemas import RecordState
from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.tables import READY, entries
from covpool.store.values.keys import Recipe, is_digest

_WITHOUT_RESULT = ("failed", "quarantined", "cancelled")


def get(catalog: Catalog, job: str) -> Job:
    """See `Queue.job`."""
    with catalog.reading() as connection:
        return _load(catalog, connection, _head(connection, job))


def summary(catalog: Catalog, job: str) -> Job:
    """See `Queue.summary`."""
    with catalog.reading() as connection:
        return _job(_head(connection, job), [])


def latest(catalog: Catalog, limit: int, after: str | None) -> list[Job]:
    """See `Queue.jobs`."""
    query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(limit)
    with catalog.reading() as connection:
        if after is not None:
            last = _head(connection, after)
            same_time = sa.and_(jobs.c.created == last.created, jobs.c.id > last.id)
            query = query.where(sa.or_(jobs.c.created < last.created, same_time))
        return [_job(head, []) for head in connection.execute(query)]


def progress(catalog: Catalog, job: str) -> Progress:
    """See `Queue.progress`."""
    with catalog.reading() as connection:
        head = _head(connection, job)
        # A record without a task was cached when it was submitted; one that failed may be cached since.
        cached = sa.exists().where(entries.c.key == records.c.key, entries.c.state == READY)
        state = sa.case(
            (records.c.key.is_(None), "failed"),
            (sa.and_(tasks.c.state.in_(_WITHOUT_RESULT), cached), "done"),
            else_=sa.func.coalesce(tasks.c.state, "done"),
        ).label("state")
        counted = connection.execute(
            sa.select(
                state,
                sa.func.count().label("number"),
                sa.func.sum(records.c.cost).label("cost"),
                sa.func.sum(tasks.c.tokens_done).label("tokens_done"),
            )
            .select_from(records.join(tasks, records.c.key == tasks.c.key, isouter=True))
            .where(records.c.job == job)
            .group_by(state)
        ).all()
        own = sa.select(records.c.key).where(records.c.job == job)
        left = connection.scalar(
            sa.select(sa.func.sum(tasks.c.cost - tasks.c.tokens_done)).where(
                tasks.c.key.in_(own), tasks.c.state.in_(LIVE)
            )
        )
    counts: dict[RecordState, int] = defaultdict(int)
    for row in counted:
        counts[_shown(row.state, cancelled=head.cancelled is not None)] += row.number
    return Progress(
        counts,
        int(sum(row.cost for row in counted)),
        int(sum((row.cost if row.state == "done" else row.tokens_done) or 0 for row in counted)),
        0 if head.cancelled is not None else int(left or 0),
    )


def cancel(catalog: Catalog, job: str) -> None:
    """See `Queue.cancel`."""
    with catalog.writing() as connection:
        _head(connection, job)
        own = sa.select(records.c.key).where(records.c.job == job, records.c.key.is_not(None))
        # A submission that wants one of them waits for this, or this for it.
        lock(connection, tasks.c.key.in_(own))
        time = now(connection)
        connection.execute(sa.update(jobs).where(jobs.c.id == job).values(cancelled=time))
        others = (
            sa.select(records.c.key)
            .join(jobs, records.c.job == jobs.c.id)
            .where(records.c.key == tasks.c.key, jobs.c.id != job, jobs.c.cancelled.is_(None))
        )
        unwanted = sa.and_(tasks.c.key.in_(own), ~sa.exists(others.correlate(tasks)))
        connection.execute(
            sa.update(tasks)
            .where(unwanted, tasks.c.state == "queued")
            .values(state="cancelled", bases=None, ended=time)
        )
        connection.execute(sa.update(tasks).where(unwanted, tasks.c.state == "running").values(cancel=True))


def _head(connection: Connection, job: str) -> "sa.Row[tuple[object, ...]]":
    if not is_digest(job):
        raise JobNotFoundError("a job is named by 64 hexadecimal digits; take them from the submission")
    head = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if head is None:
        raise JobNotFoundError(f"job {job}: not known here; submit it again")
    return head


def _load(catalog: Catalog, connection: Connection, head: "sa.Row[tuple[object, ...]]") -> Job:
    rows = connection.execute(
        sa.select(
            records,
            tasks.c.state,
            tasks.c.first_result,
            tasks.c.tokens_done,
            tasks.c.error.label("task_error"),
        )
        .join(tasks, records.c.key == tasks.c.key, isouter=True)
        .where(records.c.job == head.id)
        .order_by(records.c.position)
    ).all()
    # Of a task with several results its row tells the state; of the others the catalog.
    single = [row.key for row in rows if row.key is not None and row.first_result is None]
    ready = catalog.ready_among(single, connection)
    cancelled = head.cancelled is not None
    return _job(head, [_record(row, cached=row.key in ready, cancelled=cancelled) for row in rows])


def _job(head: "sa.Row[tuple[object, ...]]", records: list[Record]) -> Job:
    created = datetime.fromtimestamp(head.created, UTC)
    return Job(head.id, Recipe.from_json(head.recipe), json.loads(head.notices), created, records)


def _record(row: "sa.Row[tuple[object, ...]]", *, cached: bool, cancelled: bool) -> Record:
    state: RecordState
    error = row.task_error
    if row.key is None:
        state, error = "failed", row.error
    elif cached or (row.state == "done" and row.first_result is not None):
        state, error = "done", None
    elif row.state in (None, "done"):
        # The store was changed behind the queue.
        state, error = "failed", "neither cached nor queued; submit the job again"
    else:
        state = _shown(row.state, cancelled=cancelled)
    done = row.cost if cached else row.tokens_done or 0
    key = row.first_result or row.key or ""
    return Record(row.name, row.key or "", key, row.length, row.cost, state, done, error)


def _shown(state: RecordState, *, cancelled: bool) -> RecordState:
    """A task that goes on for another job is over for the one that was cancelled."""
    return "cancelled" if cancelled and state in ("queued", "running") else state
