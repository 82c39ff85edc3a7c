"""Queue: the narrow interface to durable jobs and tasks; state lives in the database alone.

A task computes the moments of one key, or of several of one sequence in one forward, and identical requests
share it; a job is an ordered list of named records over tasks. A worker holds tasks under a lease that it
renews; what it lets expire is free again, until its attempts are used up: then it is quarantined with its
last error.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy.engine import Connection

from covpool.service.queue import census, jobs, leases, losing, submitting
from covpool.service.queue.tables import TABLES
from covpool.service.queue.values import Job, Priority, Progress, Request, Stats, Task, Unfit, WorkerState
from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.rooms import with_tables
from covpool.store.values.keys import MomentsKey, Recipe


class Queue:
    """Jobs and leased tasks beside the catalog, in its database.

    Args:
        catalog: where results become ready, in the same transaction as their tasks end.
        lease_s: a task whose worker is silent this long is taken over.
        max_attempts: times a task is tried before it is quarantined.
    """

    def __init__(self, catalog: Catalog, *, lease_s: float = 30.0, max_attempts: int = 3) -> None:
        self._catalog = with_tables(catalog, TABLES)
        self.lease_s = lease_s
        self._max_attempts = max_attempts
        self._swept = 0.0
        #: Whether the last claim found nothing.
        self._idle = True
        self._sweeping = threading.Lock()

    def submit(
        self,
        recipe: Recipe,
        requests: Sequence[Request | Unfit],
        notices: Iterable[str] = (),
        priority: Priority = "bulk",
    ) -> str:
        """Register a job and queue what is not cached yet; returns the job's id.

        The same names, keys and notices in the same order are the same job (two spellings of a sequence,
        U or T, share their key but not what is to be said of them). A task that had ended without a
        result is tried anew, a cancelled job goes on, and the more urgent of two priorities holds.

        Many bases are added in several transactions, the longest sequences first and the job at last: what a
        submission that was interrupted has queued is run, and shared with the next one.
        """
        return submitting.submit(self._catalog, recipe, requests, list(notices), priority)

    def job(self, job: str) -> Job:
        """A job with the state of each record.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        return jobs.get(self._catalog, job)

    def summary(self, job: str) -> Job:
        """A job without its records, of which there may be very many.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        return jobs.summary(self._catalog, job)

    def jobs(self, limit: int, after: str | None = None) -> list[Job]:
        """The latest jobs without their records, newest first; those that come after the job `after`.

        Raises:
            JobNotFoundError: there is no job `after`.
        """
        return jobs.latest(self._catalog, limit, after)

    def progress(self, job: str) -> Progress:
        """How far a job is, counted in the database: cheap to ask often, however many records it has.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        return jobs.progress(self._catalog, job)

    def cancel(self, job: str) -> None:
        """Cancel a job: its queued tasks end now, its running ones at their worker's next heartbeat.

        Tasks that another job wants go on for that one. What is done stays done.

        Raises:
            JobNotFoundError: there is none of that id.
        """
        jobs.cancel(self._catalog, job)

    def claim(
        self, worker: str, weights: Collection[str] | None = None, *, tokens: int = 1, count: int = 1
    ) -> list[Task]:
        """Lease the first free task to `worker`, and with it others of its recipe; none when none is free.

        Interactive tasks come before bulk, older before newer, and of one submission the costliest first.
        One that was tried before comes alone.

        Args:
            worker: who holds them.
            weights: take only tasks of these model weights: a worker leaves alone what it cannot run.
            tokens: together they cost at most so many, unless the first alone costs more.
            count: at most so many tasks.
        """
        self._sweep_now_and_then()
        found = leases.claim(
            self._catalog,
            worker,
            weights,
            lease_s=self.lease_s,
            tokens=tokens,
            count=count,
            idle=self._idle,
        )
        self._idle = not found
        return found

    def heartbeat(self, worker: str, tokens_done: Mapping[str, int]) -> set[str]:
        """Renew leases and record progress; returns keys that the worker should drop.

        Those were cancelled, or are no longer this worker's. What it has dropped it gives back.
        """
        return leases.heartbeat(self._catalog, worker, tokens_done, self.lease_s)

    @staticmethod
    def finish(connection: Connection, key: str, worker: str) -> None:
        """Mark a task done, in the transaction that makes its moments readable.

        Raises:
            LeaseLostError: it is no longer this worker's; the transaction must not go through.
        """
        leases.finish(connection, key, worker)

    @staticmethod
    def lose(connection: Connection, key: MomentsKey, error: str) -> None:
        """Have jobs say that a result which was there is lost, in the transaction that retires its row."""
        losing.lose(connection, key, error)

    def fail(self, key: str, worker: str, error: str, *, retry: bool) -> None:
        """Give a task back after an error: to be tried again while attempts are left, or failed for good."""
        leases.fail(self._catalog, key, worker, error, retry=retry, max_attempts=self._max_attempts)

    def give_back(self, worker: str, keys: Collection[str]) -> None:
        """Give tasks back that came to no harm: they are free at once, and the attempt does not count."""
        leases.give_back(self._catalog, worker, keys)

    def release(self, worker: str) -> None:
        """Free the tasks of a worker known to be dead, so that they are taken over at once."""
        leases.release(self._catalog, worker, self._max_attempts)

    def sweep(self) -> int:
        """Free or quarantine the tasks whose lease has expired; returns how many."""
        return leases.sweep(self._catalog, self._max_attempts)

    def put_off_sweep(self) -> None:
        """Sweep no sooner than in half the time of a lease.

        For whoever starts, or finds the database back: others that hold tasks renew their leases first.
        """
        self._swept = time.monotonic() + self.lease_s / 4

    def stats(self) -> Stats:
        """Depth and age of the queue."""
        return census.stats(self._catalog)

    def waiting(self) -> int:
        """Tasks that are queued."""
        return census.waiting(self._catalog)

    def announce(self, worker: WorkerState) -> None:
        """Record that a worker is there, and what it says of itself."""
        census.announce(self._catalog, worker)

    def leave(self, worker: str) -> None:
        """Forget a worker that has stopped."""
        census.leave(self._catalog, worker)

    def tokens_per_s(self) -> float:
        """How fast the workers heard of within the time of a lease did their latest batches, summed up."""
        return sum(one.batch_tokens / one.batch_s for one in self.workers() if one.batch_s > 0)

    def workers(self) -> list[WorkerState]:
        """The workers heard of within the time of a lease, on every host."""
        return census.present(self._catalog, self.lease_s)

    def _sweep_now_and_then(self) -> None:
        with self._sweeping:
            if time.monotonic() < self._swept + self.lease_s / 4:
                return
            self._swept = time.monotonic()
        self.sweep()
