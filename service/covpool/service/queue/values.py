"""Values of the queue: what is submitted, claimed, and told of jobs, tasks and workers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from covpool.service.schemas import RecordState, State
from covpool.store.keys import MomentsKey, Recipe

#: A waiting person comes before a batch of thousands; the position is what the table holds.
Priority = Literal["interactive", "bulk"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "bulk")


@dataclass(frozen=True, slots=True)
class Request:
    """One named sequence of a job to submit; `cost` is its tokens over all strands."""

    name: str
    key: MomentsKey
    bases: str = field(repr=False)
    cost: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """A record of a job that cannot be extracted; it fails with its reason, and the others go on."""

    name: str
    error: str
    length: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task; `attempts` counts this one."""

    key: MomentsKey
    bases: str = field(repr=False)
    cost: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Record:
    """A job's record with the state of its task; the key is empty when it was refused.

    `cost` and `tokens_done` are tokens over all strands; `error` is the last one.
    """

    name: str
    key: str
    length: int
    cost: int
    state: RecordState
    tokens_done: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: records by state, and tokens over all records and strands."""

    counts: Mapping[RecordState, int]
    tokens: int
    tokens_done: int

    @classmethod
    def of(cls, records: list[Record]) -> "Progress":
        """Summed over records."""
        return cls(
            Counter(record.state for record in records),
            sum(record.cost for record in records),
            sum(record.tokens_done for record in records),
        )

    @property
    def state(self) -> State:
        """Running or queued while a record is left to run; then done, failed or cancelled."""
        if self.counts.get("running"):
            return "running"
        if self.counts.get("queued"):
            # A job some of whose records are done is under way.
            return "running" if self.counts.get("done") else "queued"
        if self.counts.get("failed") or self.counts.get("quarantined"):
            return "failed"
        return "cancelled" if self.counts.get("cancelled") else "done"

    @property
    def ended(self) -> bool:
        """Whether nothing is left to run."""
        return self.state not in ("queued", "running")


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
        """How far it is."""
        return Progress.of(self.records)

    @property
    def state(self) -> State:
        """See `Progress.state`."""
        return self.progress.state


@dataclass(frozen=True, slots=True)
class Stats:
    """The queue as a whole: tasks by state, tokens that wait, and for how long the oldest waits, in s."""

    tasks: Mapping[RecordState, int]
    queued_tokens: int
    oldest_queued_s: float
    oldest_running_s: float


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself.

    Attributes:
        name: host, process and a random part.
        device: torch's name of it, "" until it is known.
        memory_used, memory_total: of the device, in bytes; None until known.
        tasks, tokens, batches: done since it started.
        busy_s: seconds spent on batches.
        batch_tasks, batch_tokens, batch_s: tasks done in the latest batch, their tokens, its seconds.
        seen_s: seconds since it was heard of.
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
