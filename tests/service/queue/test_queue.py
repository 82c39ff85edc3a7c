"""Queue: leases, attempts and the one transaction that ends a task, on a real SQLite file."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from covpool.extractor.extraction.workload import Workload
from covpool.service.errors import JobNotFoundError
from covpool.service.queue import Job, JobQueue, Request, Task, TaskLeases
from covpool.service.queue.leases import finish_task
from covpool.store import MomentsKey, Store, sequence_digest
from covpool.store.database.database import Database
from covpool.store.testing import example_key, example_moments

RECIPE = example_key("a").recipe


def key_of(workload: Workload) -> MomentsKey:
    """Of the whole sequence, at the first layer."""
    return MomentsKey(workload.digest, workload.length, workload.recipes[0])


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path, catalog=database_url) as opened:
        yield opened


def request(bases: str, name: str = "gene") -> Request:
    return Request.of_key(name, MomentsKey(sequence_digest(bases), len(bases), RECIPE), bases, len(bases))


def claim(leases: TaskLeases, worker: str = "w") -> Task | None:
    claimed = leases.claim(worker)
    return claimed[0] if claimed else None


def finishing(key: MomentsKey, worker: str = "w") -> Callable[[Connection], None]:
    return lambda connection: finish_task(connection, key.digest, worker)


def submit(queue: JobQueue, *sequences: str) -> str:
    return queue.submit(RECIPE, [request(bases, f"gene{i}") for i, bases in enumerate(sequences)])


def tasks(store: Store) -> list[tuple[object, ...]]:
    with store.database.reading() as connection:
        query = "SELECT key, state, attempts, bases IS NULL FROM tasks ORDER BY created, key"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def states(job: Job) -> list[str]:
    return [record.state for record in job.records]


def test_a_claimed_task_is_what_was_submitted(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    submit(queue, "ACGTN")
    task = claim(leases, "w")
    assert task is not None
    assert (key_of(task.workload), task.workload.text, task.attempts) == (
        key_of(request("ACGTN").workload),
        "ACGTN",
        1,
    )
    assert claim(leases, "w") is None


def test_the_same_request_is_the_same_job_and_one_task(store: Store) -> None:
    queue = JobQueue(store.database)
    job = submit(queue, "ACGT", "TTTT")
    assert submit(queue, "ACGT", "TTTT") == job
    assert submit(queue, "TTTT", "ACGT") != job
    assert queue.submit(RECIPE, [request("ACGT", "other name")]) != job
    assert len(tasks(store)) == 2
    assert len(queue.jobs(10)) == 3


def test_tasks_are_claimed_oldest_first(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    sequences = ["A", "C", "G", "T", "AA", "CC"]
    for bases in sequences:
        submit(queue, bases)
    claimed = [task.workload.text for _ in sequences if (task := claim(leases, "w")) is not None]
    assert claimed == sequences


def test_what_is_cached_is_not_queued(store: Store) -> None:
    queue = JobQueue(store.database)
    store.put(key_of(request("ACGT").workload), example_moments("a"))
    job = queue.job(submit(queue, "ACGT", "TTTT"))
    assert states(job) == ["done", "queued"]
    assert job.state == "running"
    assert [task[0] for task in tasks(store)] == [request("TTTT").task]


def test_a_lease_is_exclusive_until_it_expires_and_then_taken_over(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, lease_s=0.3)
    submit(queue, "ACGT")
    first = claim(leases, "one")
    assert first is not None
    assert claim(leases, "two") is None
    time.sleep(0.35)
    second = claim(leases, "two")
    assert second is not None
    assert (second.id, second.attempts) == (first.id, 2)
    assert leases.heartbeat("one", {first.id: 1}), "it is no longer the first worker's"
    assert not leases.heartbeat("two", {first.id: 1})


def test_a_heartbeat_keeps_the_lease_and_shows_progress(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, lease_s=0.4)
    job = submit(queue, "ACGT")
    task = claim(leases, "one")
    assert task is not None
    for done in (1, 2, 3):
        time.sleep(0.2)
        assert not leases.heartbeat("one", {task.id: done})
        assert claim(leases, "two") is None
        assert queue.job(job).records[0].tokens_done == done


def test_the_task_of_a_dead_worker_is_free_at_once(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, lease_s=1000)
    submit(queue, "ACGT", "TTTT")
    first, second = claim(leases, "dead"), claim(leases, "alive")
    assert first is not None
    assert second is not None
    leases.release("dead")
    taken = claim(leases, "alive")
    assert taken is not None
    assert taken.id == first.id
    assert claim(leases, "alive") is None


def test_a_task_that_kills_its_workers_is_set_aside(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, max_attempts=2)
    job = submit(queue, "ACGT")
    for attempt in (1, 2):
        task = claim(leases, f"w{attempt}")
        assert task is not None
        assert task.attempts == attempt
        leases.release(f"w{attempt}")
    assert claim(leases, "w3") is None
    stored = queue.job(job)
    assert stored.state == "failed"
    assert stored.records[0].error is not None
    assert stored.records[0].state == "quarantined"
    assert "2 attempts" in stored.records[0].error
    assert tasks(store)[0][1:] == ("quarantined", 2, 1), "and its bases are emptied"


def test_a_failure_that_may_pass_is_tried_again_while_attempts_are_left(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database, max_attempts=2)
    job, key = submit(queue, "ACGT"), request("ACGT").task
    assert claim(leases, "w") is not None
    leases.fail(key, "w", "disk full", retry=True)
    assert queue.job(job).state == "queued"
    task = claim(leases, "w")
    assert task is not None
    assert (task.workload.text, task.attempts) == ("ACGT", 2)
    leases.fail(key, "w", "disk full", retry=True)
    assert claim(leases, "w") is None
    record = queue.job(job).records[0]
    assert record.state == "quarantined"
    assert record.error == "2 attempts, then set aside; the last error: disk full"
    assert tasks(store)[0][3] == 1, "its bases are emptied"


def test_a_failure_that_cannot_pass_is_final(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job, key = submit(queue, "ACGT"), request("ACGT").task
    claim(leases, "w")
    leases.fail(key, "w", "not DNA", retry=False)
    assert claim(leases, "w") is None
    assert queue.job(job).records[0].error == "not DNA"


def test_the_failure_of_a_worker_that_lost_its_lease_changes_nothing(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job, key = submit(queue, "ACGT"), request("ACGT").task
    claim(leases, "slow")
    leases.release("slow")
    claim(leases, "quick")
    leases.fail(key, "slow", "too late", retry=False)
    assert queue.job(job).state == "running"


def test_submitting_a_failed_job_again_queues_it_anew(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job, key = submit(queue, "ACGT"), request("ACGT").task
    claim(leases, "w")
    leases.fail(key, "w", "out of memory", retry=False)
    assert submit(queue, "ACGT") == job
    stored = queue.job(job)
    assert (stored.state, stored.records[0].error) == ("queued", None)
    task = claim(leases, "w")
    assert task is not None
    assert (task.workload.text, task.attempts) == ("ACGT", 1)


def test_submitting_does_not_disturb_a_running_task(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    submit(queue, "ACGT")
    assert claim(leases, "w") is not None
    submit(queue, "ACGT")
    assert claim(leases, "other") is None
    assert tasks(store)[0][1:3] == ("running", 1)


def test_a_task_ends_in_the_transaction_that_makes_its_moments_readable(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job, key = submit(queue, "ACGT"), key_of(request("ACGT").workload)

    def finish_and_break(connection: Connection) -> None:
        finish_task(connection, key.digest, "w")
        raise ZeroDivisionError

    claim(leases, "w")
    with pytest.raises(ZeroDivisionError):
        store.put(key, example_moments("a"), on_commit=finish_and_break)
    assert key not in store
    assert queue.job(job).state == "running"
    assert tasks(store)[0][1:] == ("running", 1, 0)
    store.put(key, example_moments("a"), on_commit=finishing(key))
    assert key in store
    assert queue.job(job).state == "done"
    assert tasks(store)[0][1:] == ("done", 1, 1), "done, and its bases are emptied"


def test_a_record_that_vanished_from_the_store_fails_with_the_remedy_and_can_be_submitted_again(
    store: Store,
) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job, key = submit(queue, "ACGT"), key_of(request("ACGT").workload)
    claim(leases, "w")
    store.put(key, example_moments("a"), on_commit=finishing(key))
    with store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM entries")
    stored = queue.job(job)
    assert stored.state == "failed"
    assert stored.records[0].error is not None
    assert "submit the job again" in stored.records[0].error
    submit(queue, "ACGT")
    assert queue.job(job).state == "queued"


def test_a_job_is_done_when_all_are_and_failed_when_none_is_left_to_run(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    job = submit(queue, "A", "C", "G")

    def run_one() -> None:
        task = claim(leases, "w")
        assert task is not None
        assert queue.job(job).state == "running"
        moments = example_moments(task.id)
        store.put(key_of(task.workload), moments, on_commit=finishing(key_of(task.workload)))

    assert queue.job(job).state == "queued"
    run_one()
    assert queue.job(job).state == "running"
    failing = claim(leases, "w")
    assert failing is not None
    leases.fail(failing.id, "w", "bad", retry=False)
    assert sorted(states(queue.job(job))) == ["done", "failed", "queued"]
    assert queue.job(job).state == "running"
    run_one()
    assert queue.job(job).state == "failed"
    assert submit(queue, "A", "C", "G") == job
    run_one()
    assert queue.job(job).state == "done"
    assert claim(leases, "w") is None


def test_records_keep_their_order_and_names(store: Store) -> None:
    queue = JobQueue(store.database)
    requests = [request("ACGT" * (i % 3 + 1), f"gene{i}") for i in range(50)]
    stored = queue.job(queue.submit(RECIPE, requests, ["a notice"]))
    assert [(r.name, r.key, r.length) for r in stored.records] == [
        (r.name, r.task, r.workload.length) for r in requests
    ]
    assert stored.notices == ["a notice"]
    assert len(tasks(store)) == 3


def test_an_unknown_job_is_named(store: Store) -> None:
    unknown = "0" * 64
    with pytest.raises(JobNotFoundError, match=f"job {unknown}: not known here"):
        JobQueue(store.database).job(unknown)
    with pytest.raises(JobNotFoundError, match="64 hexadecimal digits"):
        JobQueue(store.database).job("\ud800")


def test_a_task_that_ends_while_it_is_submitted_again_is_not_queued_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    submit(queue, "ACGT")
    task = claim(leases, "w")
    assert task is not None

    def ending_first(database: Database) -> AbstractContextManager[Connection]:
        # The task ends after the second submission has begun, just before it takes the write lock.
        monkeypatch.undo()
        key = key_of(task.workload)
        store.put(key, example_moments("a"), on_commit=finishing(key))
        return database.writing()

    monkeypatch.setattr(Database, "writing", ending_first)
    job = submit(queue, "ACGT")
    assert claim(leases, "w") is None
    assert queue.job(job).state == "done"


def test_a_worker_leaves_alone_what_it_cannot_run(store: Store) -> None:
    queue, leases = JobQueue(store.database), TaskLeases(store.database)
    submit(queue, "ACGT")
    assert leases.claim("other", weights=["0" * 64]) == []
    assert len(leases.claim("able", weights=[example_key("any").recipe.weights])) == 1


def test_jobs_outlive_the_process_that_queued_them(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        job = submit(JobQueue(store.database), "ACGT")
    with Store.open(tmp_path, catalog=database_url) as store:
        queue, leases = JobQueue(store.database), TaskLeases(store.database)
        assert queue.job(job).state == "queued"
        assert claim(leases, "w") is not None


CLAIMER = """
import sys, time
from covpool.service.queue import TaskLeases
from covpool.store import Store
with Store.open(sys.argv[1], catalog=sys.argv[3]) as store:
    leases = TaskLeases(store.database)
    print("ready", flush=True)
    sys.stdin.readline()
    while (tasks := leases.claim(sys.argv[2])):
        print(tasks[0].workload.bases, flush=True)
        # Long enough for the others to come in between.
        time.sleep(0.02)
"""


def test_processes_that_claim_at_once_never_share_a_task(
    store: Store, tmp_path: Path, database_url: str
) -> None:
    queue = JobQueue(store.database)
    sequences = [bases * n for n in range(1, 31) for bases in ("A", "C", "G", "T")]
    submit(queue, *sequences)
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(tmp_path), name, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    for process in claimers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in claimers:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in claimers:
        answers.append(process.communicate(timeout=60)[0].split())
        assert process.returncode == 0
    assert sum(map(len, answers)) == len(sequences)
    assert {bases for answer in answers for bases in answer} == set(sequences)
    assert sum(bool(answer) for answer in answers) > 1, "one process took all: nothing was tried"
