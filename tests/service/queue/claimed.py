"""Claims of tests that queue nothing but extractions."""

from collections.abc import Collection

from covpool.extractor.extraction.workload import Workload
from covpool.service.queue import Task, TaskLeases
from covpool.store import MomentsKey


def claim_tasks(
    leases: TaskLeases,
    worker: str,
    weights: Collection[str] | None = None,
    *,
    tokens: int = 1,
    count: int = 1,
) -> list[Task]:
    """What `TaskLeases.claim` gives, which is no fit."""
    claimed = leases.claim(worker, weights, tokens=tokens, count=count)
    tasks = [task for task in claimed if isinstance(task, Task)]
    assert len(tasks) == len(claimed)
    return tasks


def key_of(workload: Workload) -> MomentsKey:
    """Of the whole sequence, at the first layer."""
    return MomentsKey(workload.digest, workload.length, workload.recipes[0])
