"""Jobs: an ordered list of named records over shared tasks; submitted, looked at, cancelled."""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import JobNotFoundError
from covpool.service.queue.tables import MOST_VALUES, insert_or_update, jobs, lock, now, records, tasks
from covpool.service.queue.values import PRIORITIES, Job, Priority, Progress, Record, Request, Unfit
from covpool.service.schemas import RecordState
from covpool.store.catalog import Catalog
from covpool.store.engines import insert_if_absent
from covpool.store.keys import Recipe, canonical_json, is_digest, sha256

#: Columns of a task that a new submission sets back when the task had ended.
_ANEW = ("state", "priority", "created", "bases", "attempts", "cancel", "tokens_done", "error", "ended")


def submit(
    catalog: Catalog,
    recipe: Recipe,
    requests: Sequence[Request | Unfit],
    notices: list[str],
    priority: Priority,
) -> str:
    """See `Queue.submit`."""
    job = sha256(canonical_json([[_identity(one) for one in requests], notices]))
    wanted = {one.key.digest: one for one in requests if isinstance(one, Request)}
    # In one order everywhere: two submissions that share tasks must not wait for each other.
    keys = sorted(wanted)
    with catalog.writing() as connection:
        time = now(connection)
        # A task that is just ending is waited for here, so that what follows sees its result.
        for part in _parts(keys):
            lock(connection, tasks.c.key.in_(part))
        cached = catalog.ready_among(keys, connection)
        missing = [wanted[key] for key in keys if key not in cached]
        rows = [_task_row(one, recipe, priority, time) for one in missing]
        insert_or_update(connection, tasks, rows, update=_ANEW, where=tasks.c.ended.is_not(None))
        # What another job had queued or cancelled is now wanted, and at least as urgently as this.
        for part in _parts([one.key.digest for one in missing]):
            live = sa.and_(tasks.c.key.in_(part), tasks.c.state.in_(("queued", "running")))
            connection.execute(sa.update(tasks).where(live, tasks.c.cancel).values(cancel=False))
            rank = PRIORITIES.index(priority)
            connection.execute(sa.update(tasks).where(live, tasks.c.priority > rank).values(priority=rank))
        head = {
            "id": job,
            "recipe": recipe.to_json(),
            "notices": json.dumps(notices),
            "created": time,
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
                    "key": one.key.digest if isinstance(one, Request) else None,
                    "length": one.key.length if isinstance(one, Request) else one.length,
                    "cost": one.cost if isinstance(one, Request) else 0,
                    "error": None if isinstance(one, Request) else one.error,
                }
                for position, one in enumerate(requests)
            ],
        )
    return job


def get(catalog: Catalog, job: str) -> Job:
    """See `Queue.job`."""
    with catalog.reading() as connection:
        found = _load(catalog, connection, [_head(connection, job)])
    return found[0]


def latest(catalog: Catalog, limit: int, after: str | None) -> list[Job]:
    """See `Queue.jobs`."""
    query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(limit)
    with catalog.reading() as connection:
        if after is not None:
            last = _head(connection, after)
            same_time = sa.and_(jobs.c.created == last.created, jobs.c.id > last.id)
            query = query.where(sa.or_(jobs.c.created < last.created, same_time))
        return _load(catalog, connection, list(connection.execute(query)))


def progress(catalog: Catalog, job: str) -> Progress:
    """See `Queue.progress`."""
    with catalog.reading() as connection:
        head = _head(connection, job)
        # A record without a task was cached when it was submitted.
        state = sa.case(
            (records.c.key.is_(None), "failed"), else_=sa.func.coalesce(tasks.c.state, "done")
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
    counts: dict[RecordState, int] = defaultdict(int)
    for row in counted:
        counts[_shown(row.state, cancelled=head.cancelled is not None)] += row.number
    return Progress(
        counts,
        int(sum(row.cost for row in counted)),
        int(sum((row.cost if row.state == "done" else row.tokens_done) or 0 for row in counted)),
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


def _identity(one: Request | Unfit) -> list[str | None]:
    return [one.name, one.key.digest] if isinstance(one, Request) else [one.name, None, one.error]


def _task_row(one: Request, recipe: Recipe, priority: Priority, time: float) -> dict[str, object]:
    return {
        "key": one.key.digest,
        "state": "queued",
        "priority": PRIORITIES.index(priority),
        "created": time,
        "recipe": recipe.to_json(),
        "recipe_digest": recipe.digest,
        "weights": recipe.weights,
        "sequence": one.key.sequence,
        "length": one.key.length,
        "cost": one.cost,
        "bases": zlib.compress(one.bases.encode("ascii"), 1),
        "attempts": 0,
        "cancel": False,
        "tokens_done": 0,
        "error": None,
        "ended": None,
    }


def _head(connection: Connection, job: str) -> "sa.Row[tuple[object, ...]]":
    if not is_digest(job):
        raise JobNotFoundError("a job is named by 64 hexadecimal digits; take them from the submission")
    head = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if head is None:
        raise JobNotFoundError(f"job {job}: not known here; submit it again")
    return head


def _load(catalog: Catalog, connection: Connection, heads: "list[sa.Row[tuple[object, ...]]]") -> list[Job]:
    rows = connection.execute(
        sa.select(
            records,
            tasks.c.state,
            tasks.c.tokens_done,
            tasks.c.error.label("task_error"),
        )
        .join(tasks, records.c.key == tasks.c.key, isouter=True)
        .where(records.c.job.in_([head.id for head in heads]))
        .order_by(records.c.job, records.c.position)
    ).all()
    ready = catalog.ready_among([row.key for row in rows if row.key is not None], connection)
    of_job = defaultdict(list)
    for row in rows:
        of_job[row.job].append(row)
    return [
        Job(
            head.id,
            Recipe.from_json(head.recipe),
            json.loads(head.notices),
            datetime.fromtimestamp(head.created, UTC),
            [
                _record(row, cached=row.key in ready, cancelled=head.cancelled is not None)
                for row in of_job[head.id]
            ],
        )
        for head in heads
    ]


def _record(row: "sa.Row[tuple[object, ...]]", *, cached: bool, cancelled: bool) -> Record:
    state: RecordState
    error = row.task_error
    if row.key is None:
        state, error = "failed", row.error
    elif cached:
        state, error = "done", None
    elif row.state in (None, "done"):
        # The store was changed behind the queue.
        state, error = "failed", "neither cached nor queued; submit the job again"
    else:
        state = _shown(row.state, cancelled=cancelled)
    done = row.cost if cached else row.tokens_done or 0
    return Record(row.name, row.key or "", row.length, row.cost, state, done, error)


def _shown(state: RecordState, *, cancelled: bool) -> RecordState:
    """A task that goes on for another job is over for the one that was cancelled."""
    return "cancelled" if cancelled and state in ("queued", "running") else state


def _parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + MOST_VALUES] for start in range(0, len(keys), MOST_VALUES))
