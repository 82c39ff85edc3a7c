"""Jobs: what the API does with the queue. A job is an ordered list of named records over shared tasks.

A task computes the moments of one key, or of several of one sequence in one forward, and identical requests
share it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import JobNotFoundError
from covpool.service.queue.submitting import add_tasks
from covpool.service.queue.tables import TABLES, jobs, lock, records, tasks
from covpool.service.queue.task_rows import task_row
from covpool.service.queue.values import LIVE, Job, Progress, Record, RejectedRecord, Request, Stats
from covpool.service.schemas import Priority, RecordState
from covpool.store.catalog.catalog import ready_among
from covpool.store.catalog.rooms import with_tables
from covpool.store.catalog.tables import READY, entries
from covpool.store.database.database import Database, insert_if_absent, insert_or_update, seconds
from covpool.store.values.keys import MomentsKey, Recipe, canonical_json, is_digest, sha256

_WITHOUT_RESULT = ("failed", "quarantined", "cancelled")


class JobQueue:
    """The jobs of one database: submits, reads, cancels and lists them.

    Args:
        database: the database of the catalog, in which results become ready.
    """

    def __init__(self, database: Database) -> None:
        self._database = with_tables(database, TABLES)

    def submit(
        self,
        recipe: Recipe,
        requests: Sequence[Request | RejectedRecord],
        notices: Iterable[str] = (),
        priority: Priority = "bulk",
    ) -> str:
        """Register a job and queue what is not cached yet; returns the job's id.

        The same names, keys and notices in the same order are the same job (two spellings of a sequence,
        U or T, share their key but not their notices). A task that ended without a result is tried again,
        a cancelled job goes on, and the more urgent of two priorities holds.
        """
        notice_texts = list(notices)
        job = sha256(canonical_json([[_identity(request) for request in requests], notice_texts]))
        wanted = [request for request in requests if isinstance(request, Request)]
        add_tasks(
            self._database,
            wanted,
            priority,
            lambda connection, time: _add_job(connection, time, job, recipe, requests, notice_texts),
        )
        return job

    def job(self, job: str) -> Job:
        """A job with the state of each record.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        with self._database.reading() as connection:
            return _load(connection, _head(connection, job))

    def summary(self, job: str) -> Job:
        """A job without its records, of which there may be very many.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        with self._database.reading() as connection:
            return _job(_head(connection, job), [])

    def jobs(self, limit: int, after: str | None = None) -> list[Job]:
        """The latest jobs without their records, newest first; those that come after the job `after`.

        Raises:
            JobNotFoundError: there is no job `after`.
        """
        query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(limit)
        with self._database.reading() as connection:
            if after is not None:
                last = _head(connection, after)
                same_time = sa.and_(jobs.c.created == last.created, jobs.c.id > last.id)
                query = query.where(sa.or_(jobs.c.created < last.created, same_time))
            return [_job(head, []) for head in connection.execute(query)]

    def progress(self, job: str) -> Progress:
        """How far a job is, counted in the database: cheap to ask often, however many records it has.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        with self._database.reading() as connection:
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

    def cancel(self, job: str) -> None:
        """Cancel a job: its queued tasks end now, its running ones at their worker's next heartbeat.

        Tasks that another job needs go on. Tasks that are done stay done.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        with self._database.writing() as connection:
            _head(connection, job)
            own = sa.select(records.c.key).where(records.c.job == job, records.c.key.is_not(None))
            # A submission that needs one of these tasks waits for this transaction, or this one for it.
            lock(connection, tasks.c.key.in_(own))
            time = seconds(connection)
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
            connection.execute(
                sa.update(tasks).where(unwanted, tasks.c.state == "running").values(cancel=True)
            )

    def stats(self) -> Stats:
        """Depth and age of the queue."""
        with self._database.reading() as connection:
            time = seconds(connection)
            rows = connection.execute(
                sa.select(
                    tasks.c.state,
                    sa.func.count().label("number"),
                    sa.func.sum(tasks.c.cost).label("cost"),
                    sa.func.min(tasks.c.created).label("oldest"),
                ).group_by(tasks.c.state)
            ).all()
        of_state = {row.state: row for row in rows}

        def age(state: str) -> float:
            return max(0.0, time - of_state[state].oldest) if state in of_state else 0.0

        return Stats(
            {row.state: row.number for row in rows},
            int(of_state["queued"].cost) if "queued" in of_state else 0,
            age("queued"),
            age("running"),
        )

    def waiting(self) -> int:
        """Number of queued tasks."""
        with self._database.reading() as connection:
            query = sa.select(sa.func.count()).select_from(tasks).where(tasks.c.state == "queued")
            return connection.scalar(query) or 0


def lose(connection: Connection, key: MomentsKey, error: str) -> None:
    """Mark a result as lost in all jobs, in the transaction that retires its row."""
    time = seconds(connection)
    of_key = sa.or_(tasks.c.key == key.digest, tasks.c.first_result == key.digest)
    lock(connection, of_key)
    failed = {"state": "failed", "error": error, "tokens_done": 0, "ended": time}
    connection.execute(sa.update(tasks).where(of_key, tasks.c.state == "done").values(failed))
    cost = connection.scalar(sa.select(records.c.cost).where(records.c.key == key.digest).limit(1))
    if cost is not None:
        # A result that was cached at submission has no task yet.
        row = task_row(Request.of_key("", key, "", cost), None, "bulk", time)
        insert_if_absent(connection, tasks, [row | failed])


def _identity(request: Request | RejectedRecord) -> list[str | None]:
    return [request.name, *([request.task] if isinstance(request, Request) else [None, request.error])]


def _add_job(
    connection: Connection,
    time: float,
    job: str,
    recipe: Recipe,
    requests: Sequence[Request | RejectedRecord],
    notices: list[str],
) -> None:
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
                "name": request.name,
                "key": request.task if isinstance(request, Request) else None,
                "length": request.workload.length if isinstance(request, Request) else request.length,
                "cost": request.cost if isinstance(request, Request) else 0,
                "error": None if isinstance(request, Request) else request.error,
            }
            for position, request in enumerate(requests)
        ],
    )


def _head(connection: Connection, job: str) -> "sa.Row[tuple[object, ...]]":
    if not is_digest(job):
        raise JobNotFoundError("a job is named by 64 hexadecimal digits; take them from the submission")
    head = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if head is None:
        raise JobNotFoundError(f"job {job}: not known here; submit it again")
    return head


def _load(connection: Connection, head: "sa.Row[tuple[object, ...]]") -> Job:
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
    # The state of a task with several results is in its row, that of the others in the catalog.
    single = [row.key for row in rows if row.key is not None and row.first_result is None]
    ready = ready_among(connection, single)
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
        # The store was changed without the queue.
        state, error = "failed", "neither cached nor queued; submit the job again"
    else:
        state = _shown(row.state, cancelled=cancelled)
    done = row.cost if cached else row.tokens_done or 0
    key = row.first_result or row.key or ""
    return Record(row.name, row.key or "", key, row.length, row.cost, state, done, error)


def _shown(state: RecordState, *, cancelled: bool) -> RecordState:
    """State shown for a task: for a cancelled job it is cancelled, even if it runs on for another job."""
    return "cancelled" if cancelled and state in ("queued", "running") else state
