"""Values of the queue: what is submitted, claimed, and reported of jobs, tasks and workers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from covpool.extractor.extraction.selections import WHOLE, Selection
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model
from covpool.service.schemas import RecordState, State
from covpool.store.values.keys import MomentsKey, Recipe, canonical_json, sha256

#: Interactive requests come before bulk ones; the table holds the position.
Priority = Literal["interactive", "bulk"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "bulk")
#: States of tasks that have not ended.
LIVE: tuple[Literal["queued", "running"], ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Request:
    """One record of a job to submit.

    Attributes:
        workload: what to compute; it has the name of the record.
        keys: digests of its results, in order; a selection without a token at a layer has none there.
        cost: tokens, over all layers and strands.
    """

    workload: Workload
    keys: tuple[str, ...]
    cost: int

    @classmethod
    def of(cls, workload: Workload, model: Model) -> Self:
        """The request for a workload of this model."""
        keys = workload.keys(model).values()
        return cls(workload, tuple(key.digest for key in keys), workload.tokens(model))

    @classmethod
    def of_key(cls, name: str, key: MomentsKey, bases: str, cost: int) -> Self:
        """The request for the moments of a whole sequence at one layer."""
        whole = (Selection.whole(key.length),)
        workload = Workload(name, key.sequence, key.length, bases, whole, (key.recipe,))
        return cls(workload, (key.digest,), cost)

    @property
    def name(self) -> str:
        """Name of the record."""
        return self.workload.name

    @property
    def single(self) -> bool:
        """Whether only the whole sequence at one layer is requested."""
        names = [selection.name for selection in self.workload.selections]
        return len(self.workload.recipes) == 1 and names == [WHOLE]

    @property
    def task(self) -> str:
        """Id of its task: the key of its one result, or the digest of several, which is never a key."""
        return self.keys[0] if self.single else sha256(canonical_json(["asks", *sorted(self.keys)]))


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record of a job that cannot be extracted; it fails with its error, and the others go on."""

    name: str
    error: str
    length: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task that extracts moments.

    Attributes:
        id: its key in the queue; the digest of its result's key where it has one result.
        workload: what to compute, with its bases.
        cost: tokens, over all layers and strands.
        attempts: times it was claimed, this one included.
    """

    id: str
    workload: Workload
    cost: int
    attempts: int


@dataclass(frozen=True, slots=True)
class FitTask:
    """A claimed fit of a pooling.

    Attributes:
        id: its key in the queue.
        request: the request of `/v1/bottlenecks`, as `Fits.submit` took it.
        attempts: times it was claimed, this one included.
        cost: tokens of a model; 0, for it runs none.
    """

    id: str
    request: Mapping[str, Any]
    attempts: int
    cost: int = 0


#: What a worker may hold a lease on.
Leased = Task | FitTask


@dataclass(frozen=True, slots=True)
class Record:
    """A job's record with the state of its task.

    Attributes:
        name: as submitted.
        task: id of its task; empty when the record was rejected.
        key: key of its result, the first where it has several; empty when the record was rejected.
        length: in bp.
        cost, tokens_done: tokens, over all layers and strands.
        state, error: of the task; the error is the last one.
    """

    name: str
    task: str
    key: str
    length: int
    cost: int
    state: RecordState
    tokens_done: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        counts: records by state.
        tokens, tokens_done: over all records, layers and strands.
        tokens_left: still to be computed, by tasks that have not ended; equal records count once.
    """

    counts: Mapping[RecordState, int]
    tokens: int
    tokens_done: int
    tokens_left: int

    @classmethod
    def of(cls, records: list[Record]) -> "Progress":
        """The sum over records."""
        return cls(
            Counter(record.state for record in records),
            sum(record.cost for record in records),
            sum(record.tokens_done for record in records),
            sum({live.task: live.cost - live.tokens_done for live in records if live.state in LIVE}.values()),
        )

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(self.counts.values())

    @property
    def records_done(self) -> int:
        """Records that have a result."""
        return self.counts.get("done", 0)

    @property
    def records_failed(self) -> int:
        """Records that will have no result, quarantined ones included and cancelled ones not."""
        return self.counts.get("failed", 0) + self.counts.get("quarantined", 0)

    @property
    def state(self) -> State:
        """Running or queued while a record has not ended; then done, failed or cancelled."""
        if self.counts.get("running"):
            return "running"
        if self.counts.get("queued"):
            # A job is running as soon as some of its records are done.
            return "running" if self.counts.get("done") else "queued"
        if self.counts.get("failed") or self.counts.get("quarantined"):
            return "failed"
        return "cancelled" if self.counts.get("cancelled") else "done"

    @property
    def ended(self) -> bool:
        """Whether all records have ended."""
        return self.state not in LIVE

    def eta_s(self, tokens_per_s: float) -> float | None:
        """Seconds until its end at this rate; None when it has ended or the rate is 0."""
        if self.ended or not tokens_per_s:
            return None
        return self.tokens_left / tokens_per_s


@dataclass(frozen=True, slots=True)
class Job:
    """A job with its records."""

    id: str
    recipe: Recipe
    notices: list[str]
    created: datetime
    records: list[Record]

    @property
    def progress(self) -> Progress:
        """Its progress."""
        return Progress.of(self.records)

    @property
    def state(self) -> State:
        """See `Progress.state`."""
        return self.progress.state


@dataclass(frozen=True, slots=True)
class Stats:
    """The whole queue: tasks by state, queued tokens, and the ages of the oldest tasks in seconds."""

    tasks: Mapping[RecordState, int]
    queued_tokens: int
    oldest_queued_s: float
    oldest_running_s: float


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker reports of itself.

    Attributes:
        name: host, process and a random part.
        device: torch's name of its device; "" until known.
        memory_used, memory_total: of the device, in bytes; None until known.
        tasks, tokens, batches: done since it started.
        busy_s: seconds spent on batches.
        batch_tasks, batch_tokens, batch_s: tasks done in the latest batch, their tokens, its seconds.
        seen_s: seconds since its last heartbeat.
        paused: why it waits (its storage or database is away, full or read-only); "" while it works.
        paused_s: seconds that it has waited.
    """

    name: str
    device: str = ""
    memory_used: int | None = None
    memory_total: int | None = None
    tasks: int = 0
    tokens: int = 0
    batches: int = 0
    busy_s: float = 0.0
    batch_tasks: int = 0
    batch_tokens: int = 0
    batch_s: float = 0.0
    seen_s: float = 0.0
    paused: str = ""
    paused_s: float = 0.0
