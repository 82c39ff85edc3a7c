"""Queue: what is claimed first and together, what is cancelled, and what is told of it."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from covpool.service.errors import JobNotFoundError, LeaseLostError
from covpool.service.queue import JobQueue, RejectedRecord, Request, TaskLeases, Workers, WorkerState
from covpool.service.queue.leases import finish_task
from covpool.store import MomentsKey, Store, sequence_digest
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import Recipe

RECIPE = example_key("a").recipe
OTHER = dataclasses.replace(RECIPE, layer="layer.1")


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path, catalog=database_url) as opened:
        yield opened


@pytest.fixture
def queue(store: Store) -> JobQueue:
    return JobQueue(store.database)


@pytest.fixture
def leases(store: Store) -> TaskLeases:
    return TaskLeases(store.database, lease_s=1000)


def requests(*sequences: str, recipe: Recipe = RECIPE) -> list[Request | RejectedRecord]:
    return [
        Request.of_key(bases, MomentsKey(sequence_digest(bases), len(bases), recipe), bases, len(bases))
        for bases in sequences
    ]


def key(bases: str) -> MomentsKey:
    return MomentsKey(sequence_digest(bases), len(bases), RECIPE)


def claimed(leases: TaskLeases, tokens: int = 1000, count: int = 100, worker: str = "w") -> list[str]:
    return [task.workload.text for task in leases.claim(worker, tokens=tokens, count=count)]


def finish(store: Store, bases: str, worker: str = "w") -> None:
    def ending(connection: Connection) -> None:
        finish_task(connection, key(bases).digest, worker)

    store.put(key(bases), example_moments(bases), on_commit=ending)


def test_interactive_tasks_come_before_bulk_ones(queue: JobQueue, leases: TaskLeases) -> None:
    queue.submit(RECIPE, requests("AAA", "CCC"))
    queue.submit(RECIPE, requests("GGG"), priority="interactive")
    assert claimed(leases, count=1) == ["GGG"]


def test_an_interactive_request_for_a_queued_bulk_task_hurries_it_and_never_the_reverse(
    queue: JobQueue, leases: TaskLeases
) -> None:
    queue.submit(RECIPE, requests("AAA"))
    queue.submit(RECIPE, requests("CCC"))
    queue.submit(RECIPE, requests("CCC"), priority="interactive")
    queue.submit(RECIPE, requests("CCC", "TTT"), priority="bulk")
    assert claimed(leases, count=1) == ["CCC"]


def test_a_claim_takes_tasks_of_one_recipe_up_to_its_tokens_and_count(
    queue: JobQueue, leases: TaskLeases
) -> None:
    queue.submit(RECIPE, requests("A", "CC", "GGG", "TTTT"))
    queue.submit(OTHER, requests("A", recipe=OTHER))
    assert claimed(leases, tokens=5, count=3) == ["TTTT", "A"]
    assert claimed(leases, count=1) == ["GGG"]
    assert claimed(leases, tokens=1000) == ["CC"]
    assert claimed(leases, tokens=1000) == ["A"]
    assert queue.stats().tasks == {"running": 5}


def test_of_one_submission_the_costliest_come_first_and_an_older_one_before_it(
    queue: JobQueue, leases: TaskLeases
) -> None:
    queue.submit(RECIPE, requests("A"))
    queue.submit(RECIPE, requests("GGG", "TTTTT", "CC", "TTTTTTT"))
    assert [claimed(leases, count=1) for _ in range(3)] == [["A"], ["TTTTTTT"], ["TTTTT"]]
    assert claimed(leases) == ["GGG", "CC"]


def test_no_claim_mixes_recipes(queue: JobQueue, leases: TaskLeases) -> None:
    queue.submit(RECIPE, requests("A", "C"))
    queue.submit(OTHER, requests("A", "C", recipe=OTHER))
    for _ in range(2):
        tasks = leases.claim("w", tokens=1000, count=100)
        assert len(tasks) == 2
        assert len({task.workload.recipes for task in tasks}) == 1


def test_a_task_that_costs_more_than_a_claim_takes_comes_alone(queue: JobQueue, leases: TaskLeases) -> None:
    queue.submit(RECIPE, requests("A" * 50))
    queue.submit(RECIPE, requests("C"))
    assert claimed(leases, tokens=10) == ["A" * 50]


def test_a_task_that_was_under_way_when_its_worker_died_is_tried_alone(
    queue: JobQueue, leases: TaskLeases
) -> None:
    queue.submit(RECIPE, requests("A", "C", "G"))
    assert len(claimed(leases, worker="dies")) == 3
    leases.release("dies")
    assert [len(claimed(leases)) for _ in range(4)] == [1, 1, 1, 0]


def test_tasks_given_back_unharmed_keep_their_attempts(queue: JobQueue, leases: TaskLeases) -> None:
    queue.submit(RECIPE, requests("A", "C"))
    tasks = leases.claim("w", tokens=10, count=2)
    leases.give_back("w", [task.id for task in tasks])
    assert [task.attempts for task in leases.claim("v", tokens=10, count=2)] == [1, 1]


def test_cancelling_ends_what_is_queued_and_asks_for_what_runs(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, requests("A", "CC", "GGG"))
    first, second = (task.workload.text for task in leases.claim("w", tokens=10, count=2))
    finish(store, first)
    queue.cancel(job)
    running = key(second).digest
    assert leases.heartbeat("w", {running: 1}) == {running}
    leases.give_back("w", [running])
    stored = queue.job(job)
    assert stored.state == "cancelled"
    assert sorted(record.state for record in stored.records) == ["cancelled", "cancelled", "done"]
    assert claimed(leases) == []
    assert queue.stats().tasks == {"done": 1, "cancelled": 2}


def test_cancelling_spares_what_another_job_wants(queue: JobQueue, leases: TaskLeases) -> None:
    one = queue.submit(RECIPE, requests("A", "CC"))
    other = queue.submit(RECIPE, requests("CC", "GGG"))
    queue.cancel(one)
    assert queue.job(one).state == "cancelled"
    assert queue.job(other).state == "queued"
    assert sorted(claimed(leases)) == ["CC", "GGG"]
    queue.cancel(other)
    assert leases.heartbeat("w", {key("CC").digest: 0}) == {key("CC").digest}


def test_a_cancelled_job_goes_on_when_it_is_submitted_again(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, requests("A", "CC"))
    (running,) = claimed(leases, count=1)
    queue.cancel(job)
    assert queue.submit(RECIPE, requests("A", "CC")) == job
    assert queue.job(job).state == "running"
    assert leases.heartbeat("w", {key(running).digest: 1}) == set()
    finish(store, running)
    (left,) = claimed(leases)
    finish(store, left)
    assert queue.job(job).state == "done"


def test_a_cancelled_task_whose_worker_dies_is_not_tried_again(queue: JobQueue, leases: TaskLeases) -> None:
    job = queue.submit(RECIPE, requests("A"))
    claimed(leases)
    queue.cancel(job)
    leases.release("w")
    assert claimed(leases) == []
    assert queue.stats().tasks == {"cancelled": 1}


def test_a_result_of_a_worker_that_lost_its_lease_ends_nothing(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, requests("A"))
    claimed(leases, worker="slow")
    leases.release("slow")
    claimed(leases, worker="quick")
    with pytest.raises(LeaseLostError, match="no longer leased to slow"):
        finish(store, "A", "slow")
    assert key("A") not in store
    finish(store, "A", "quick")
    assert queue.job(job).state == "done"
    with pytest.raises(LeaseLostError):
        finish(store, "A", "quick")
    assert key("A") in store


def test_a_sweep_frees_what_expired_and_quarantines_what_has_no_attempts_left(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, lease_s=0.05, max_attempts=2)
    job = queue.submit(RECIPE, requests("A"))
    claimed(leases)
    assert leases.sweep() == 0
    time.sleep(0.06)
    assert leases.sweep() == 1
    assert queue.job(job).state == "queued"
    assert claimed(leases) == ["A"]
    time.sleep(0.06)
    assert leases.sweep() == 1
    (record,) = queue.job(job).records
    assert (record.state, queue.job(job).state) == ("quarantined", "failed")
    assert record.error == "2 attempts, then set aside; the last error: its lease expired"
    queue.submit(RECIPE, requests("A"))
    assert claimed(leases) == ["A"]


def test_an_unfit_record_fails_alone(queue: JobQueue, leases: TaskLeases, store: Store) -> None:
    job = queue.submit(RECIPE, [RejectedRecord("protein", "protein: not DNA"), *requests("A")])
    stored = queue.job(job)
    assert [record.state for record in stored.records] == ["failed", "queued"]
    assert (stored.records[0].key, stored.records[0].error) == ("", "protein: not DNA")
    assert stored.state == "queued"
    claimed(leases)
    finish(store, "A")
    assert [record.state for record in queue.job(job).records] == ["failed", "done"]
    assert queue.job(job).state == "failed"
    assert queue.progress(job).counts == {"failed": 1, "done": 1}


def test_progress_counted_in_the_database_is_that_of_the_records(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    queue.submit(RECIPE, requests("TTT"))
    claimed(leases)
    finish(store, "TTT")
    records = ["A", "CC", "GGG", "TTT", "AAAAA", "CCCCC"]
    job = queue.submit(RECIPE, [*requests(*records), RejectedRecord("x", "bad")])

    def check(check: Callable[[], object] = lambda: None) -> None:
        check()
        shown, counted = queue.job(job).progress, queue.progress(job)
        assert (dict(counted.counts), counted.tokens) == (dict(shown.counts), shown.tokens)
        assert counted.tokens_done == shown.tokens_done
        assert counted.state == shown.state

    check()
    tasks = [task.workload.text for task in leases.claim("w", tokens=100, count=4)]
    check(lambda: leases.heartbeat("w", {key(bases).digest: len(bases) - 1 for bases in tasks}))
    check(lambda: finish(store, tasks[0]))
    check(lambda: leases.fail(key(tasks[1]).digest, "w", "bad", retry=False))
    check(lambda: leases.fail(key(tasks[2]).digest, "w", "bad", retry=True))
    check(lambda: queue.cancel(job))
    check(lambda: leases.give_back("w", [key(tasks[3]).digest]))
    assert queue.progress(job).counts["cancelled"] == 3


def test_jobs_are_listed_newest_first_a_page_at_a_time(queue: JobQueue) -> None:
    ids = [queue.submit(RECIPE, requests("A" * n)) for n in range(1, 8)]
    first = queue.jobs(3)
    second = queue.jobs(3, after=first[-1].id)
    third = queue.jobs(3, after=second[-1].id)
    assert [job.id for job in (*first, *second, *third)] == ids[::-1]
    assert not any(job.records for job in first), "there may be very many"
    assert queue.jobs(3, after=third[-1].id) == []
    with pytest.raises(JobNotFoundError):
        queue.jobs(3, after="0" * 64)


def test_depth_and_age_are_told(queue: JobQueue) -> None:
    assert (queue.stats().tasks, queue.stats().oldest_queued_s) == ({}, 0.0)
    queue.submit(RECIPE, requests("AAA", "CC"))
    time.sleep(0.02)
    found = queue.stats()
    assert (found.tasks, found.queued_tokens) == ({"queued": 2}, 5)
    assert 0.02 <= found.oldest_queued_s < 60


def test_workers_are_there_while_they_are_heard_of(store: Store) -> None:
    workers = Workers(store.database, lease_s=0.2)
    workers.announce(WorkerState("one", device="cpu", tasks=3))
    workers.announce(WorkerState("two"))
    workers.announce(WorkerState("one", device="cpu", tasks=4))
    assert [(worker.name, worker.tasks) for worker in workers.present()] == [("one", 4), ("two", 0)]
    workers.leave("two")
    assert [worker.name for worker in workers.present()] == ["one"]
    time.sleep(0.25)
    assert workers.present() == []
