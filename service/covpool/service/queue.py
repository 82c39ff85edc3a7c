"""Queue: durable jobs and tasks in the catalog's database, leased to workers.

A task computes the moments of one key, so identical requests share it; a job is an ordered list of named
keys. A worker holds a task under a lease that it renews; an expired lease makes the task free again.
"""

import json
import time
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.errors import JobNotFoundError
from covpool.service.schemas import State
from covpool.store.catalog import Catalog
from covpool.store.keys import MomentsKey, Recipe, canonical_json, is_digest, sha256

metadata = sa.MetaData()

_tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("weights", sa.String(64), nullable=False),
    sa.Column("sequence", sa.String(64), nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    # The bases themselves, compressed; emptied as soon as the task has ended.
    sa.Column("bases", sa.LargeBinary),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("worker", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("tokens_done", sa.BigInteger, nullable=False, default=0),
    sa.Column("error", sa.Text),
)

_jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("notices", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

_records = sa.Table(
    "job_records",
    metadata,
    sa.Column("job", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("key", sa.String(64), nullable=False, index=True),
    sa.Column("length", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One named sequence of a job to submit."""

    name: str
    key: MomentsKey
    bases: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task."""

    key: MomentsKey
    bases: str = field(repr=False)
    attempts: int


@dataclass(frozen=True, slots=True)
class Record:
    """A job's record with the state of its task."""

    name: str
    key: str
    length: int
    state: State
    tokens_done: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job with its records."""

    id: str
    recipe: Recipe
    notices: list[str]
    created: datetime
    records: list[Record]

    @property
    def state(self) -> State:
        """Done when all are done; failed when some failed and none is left to run."""
        states = {record.state for record in self.records}
        for state in ("running", "queued", "failed"):
            if state in states:
                # A job some of whose records are done is under way.
                return "running" if state == "queued" and "done" in states else state
        return "done"


class Queue:
    """Submit, claim, heartbeat, finish, fail, release; state lives in the database alone."""

    def __init__(self, catalog: Catalog, *, lease_s: float = 30.0, max_attempts: int = 3) -> None:
        self._catalog = catalog
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        with catalog.writing() as connection:
            metadata.create_all(connection)

    def submit(self, recipe: Recipe, requests: list[Request], notices: Iterable[str] = ()) -> str:
        """Register a job and queue what is not cached yet; returns the job's id.

        The same names, keys and notices in the same order are the same job (two spellings of a sequence,
        U or T, share their key but not what is to be said of them). A task that had failed is tried anew.
        """
        keys = list(dict.fromkeys(request.key.digest for request in requests))
        told = list(notices)
        job = sha256(canonical_json([[[r.name, r.key.digest] for r in requests], told]))
        now = time.time()
        with self._catalog.writing() as connection:
            # Asked under the write lock: a task that ends meanwhile must not be queued again.
            cached = self._catalog.ready_among(keys, connection)
            missing = {r.key.digest: r for r in requests if r.key.digest not in cached}
            for key, request in missing.items():
                state = connection.scalar(sa.select(_tasks.c.state).where(_tasks.c.key == key))
                row = {
                    "key": key,
                    "state": "queued",
                    "recipe": recipe.to_json(),
                    "weights": recipe.weights,
                    "sequence": request.key.sequence,
                    "length": request.key.length,
                    "bases": zlib.compress(request.bases.encode("ascii"), 1),
                    "created": now,
                    "attempts": 0,
                    "tokens_done": 0,
                    "error": None,
                }
                if state is None:
                    connection.execute(sa.insert(_tasks).values(row))
                elif state in ("done", "failed"):
                    connection.execute(sa.update(_tasks).where(_tasks.c.key == key).values(row))
            if connection.scalar(sa.select(_jobs.c.id).where(_jobs.c.id == job)) is None:
                connection.execute(
                    sa.insert(_jobs).values(
                        id=job, recipe=recipe.to_json(), notices=json.dumps(told), created=now
                    )
                )
                connection.execute(
                    sa.insert(_records),
                    [
                        {
                            "job": job,
                            "position": position,
                            "name": request.name,
                            "key": request.key.digest,
                            "length": request.key.length,
                        }
                        for position, request in enumerate(requests)
                    ],
                )
        return job

    def job(self, job: str) -> Job:
        """A job with the state of each record.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        if not is_digest(job):
            raise JobNotFoundError("a job is named by 64 hexadecimal digits; take them from the submission")
        with self._catalog.reading() as connection:
            head = connection.execute(sa.select(_jobs).where(_jobs.c.id == job)).one_or_none()
            if head is None:
                raise JobNotFoundError(f"job {job}: not known here; submit it again")
            rows = connection.execute(
                sa.select(_records, _tasks.c.state, _tasks.c.tokens_done, _tasks.c.error)
                .join(_tasks, _records.c.key == _tasks.c.key, isouter=True)
                .where(_records.c.job == job)
                .order_by(_records.c.position)
            ).all()
        ready = self._catalog.ready_among([row.key for row in rows])
        return Job(
            head.id,
            Recipe.from_json(head.recipe),
            json.loads(head.notices),
            datetime.fromtimestamp(head.created, UTC),
            [_record(row, cached=row.key in ready) for row in rows],
        )

    def jobs(self, limit: int) -> list[Job]:
        """The latest jobs, newest first."""
        query = sa.select(_jobs.c.id).order_by(_jobs.c.created.desc(), _jobs.c.id).limit(limit)
        with self._catalog.reading() as connection:
            ids = list(connection.scalars(query))
        return [self.job(job) for job in ids]

    def claim(self, worker: str, weights: Collection[str] | None = None) -> Task | None:
        """Lease the oldest free task to `worker`; None when there is none.

        With `weights`, only tasks of those model weights: a worker leaves alone what it cannot run. A task
        whose lease has expired is free, unless it has used up its attempts: then it has failed.
        """
        now = time.time()
        expired = sa.and_(_tasks.c.state == "running", _tasks.c.lease_until < now)
        free = sa.or_(_tasks.c.state == "queued", expired)
        if weights is not None:
            free = sa.and_(free, _tasks.c.weights.in_(list(weights)))
        with self._catalog.reading() as connection:
            # Idle workers ask often: they must not take the write lock to learn that nothing is there.
            if connection.scalar(sa.select(_tasks.c.key).where(free).limit(1)) is None:
                return None
        with self._catalog.writing() as connection:
            connection.execute(
                sa.update(_tasks)
                .where(expired, _tasks.c.attempts >= self._max_attempts)
                .values(
                    state="failed",
                    bases=None,
                    error=f"the worker died or fell silent {self._max_attempts} times; set aside",
                )
            )
            row = connection.execute(
                sa.select(_tasks)
                .where(free)
                .order_by(_tasks.c.created, _tasks.c.key)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                sa.update(_tasks)
                .where(_tasks.c.key == row.key)
                .values(
                    state="running",
                    worker=worker,
                    lease_until=now + self._lease_s,
                    attempts=row.attempts + 1,
                    tokens_done=0,
                )
            )
        key = MomentsKey(row.sequence, row.length, Recipe.from_json(row.recipe))
        return Task(key, zlib.decompress(row.bases).decode("ascii"), row.attempts + 1)

    def heartbeat(self, key: str, worker: str, tokens_done: int) -> bool:
        """Renew a lease and record progress; False when the task is no longer this worker's."""
        with self._catalog.writing() as connection:
            renewed = connection.execute(
                sa.update(_tasks)
                .where(_tasks.c.key == key, _tasks.c.worker == worker, _tasks.c.state == "running")
                .values(lease_until=time.time() + self._lease_s, tokens_done=tokens_done)
            )
            return renewed.rowcount == 1

    @staticmethod
    def finish(connection: Connection, key: str) -> None:
        """Mark a task done, in the transaction that makes its moments readable."""
        connection.execute(
            sa.update(_tasks)
            .where(_tasks.c.key == key)
            .values(state="done", bases=None, error=None, worker=None, lease_until=None)
        )

    def fail(self, key: str, worker: str, error: str, *, retry: bool) -> None:
        """Give a task back after an error: to be tried again while attempts are left, or failed for good."""
        again = sa.and_(sa.literal(retry), _tasks.c.attempts < self._max_attempts)
        with self._catalog.writing() as connection:
            connection.execute(
                sa.update(_tasks)
                .where(_tasks.c.key == key, _tasks.c.worker == worker, _tasks.c.state == "running")
                .values(
                    state=sa.case((again, "queued"), else_="failed"),
                    bases=sa.case((again, _tasks.c.bases), else_=sa.null()),
                    error=error,
                    worker=None,
                    lease_until=None,
                )
            )

    def release(self, worker: str) -> None:
        """Expire the leases of a worker known to be dead, so that its tasks are taken over at once."""
        with self._catalog.writing() as connection:
            connection.execute(
                sa.update(_tasks)
                .where(_tasks.c.worker == worker, _tasks.c.state == "running")
                .values(lease_until=0.0)
            )


def _record(row: "sa.Row[tuple[object, ...]]", *, cached: bool) -> Record:
    if cached:
        return Record(row.name, row.key, row.length, "done", row.length, None)
    # Neither cached nor queued: the store was changed behind the queue; the remedy is to submit again.
    lost = "neither cached nor queued; submit the job again"
    state: State = "failed" if row.state in (None, "done") else row.state
    error = lost if row.state in (None, "done") else row.error
    return Record(row.name, row.key, row.length, state, row.tokens_done or 0, error)
