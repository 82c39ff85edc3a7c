"""Queue: tasks with several results are shared, done with the last of them, and claimed with their like."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.extractor import Selection
from covpool.extractor.extraction.workload import Workload
from covpool.service.queue import JobQueue, Request, TaskLeases, Workers, WorkerState, submitting
from covpool.service.queue.leases import finish_task
from covpool.store import MomentsKey, Store, sequence_digest
from covpool.store.testing import example_key, example_moments

RECIPE = example_key("a").recipe
LAYERS = ("layer.0", "layer.1")


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


def keys(bases: str, layers: tuple[str, ...] = LAYERS) -> list[MomentsKey]:
    """Of whole and first half, at each layer."""
    digest, size = sequence_digest(bases), len(bases)
    return [
        selection.key_of(digest, size, replace(RECIPE, layer=layer))
        for selection in selections(bases)
        for layer in layers
    ]


def selections(bases: str) -> tuple[Selection, ...]:
    return Selection.whole(len(bases)), Selection("gene", ((0, len(bases) // 2),))


def asking(bases: str, layers: tuple[str, ...] = LAYERS, read: Callable[[], str] | None = None) -> Request:
    recipes = tuple(replace(RECIPE, layer=layer) for layer in layers)
    wanted = selections(bases)
    workload = Workload(f"gene {bases}", sequence_digest(bases), len(bases), read or bases, wanted, recipes)
    return Request(workload, tuple(key.digest for key in keys(bases, layers)), len(layers) * len(bases))


def plain(bases: str) -> Request:
    return Request.of_key(bases, MomentsKey(sequence_digest(bases), len(bases), RECIPE), bases, len(bases))


def put(store: Store, wanted: list[MomentsKey]) -> None:
    for key in wanted:
        store.put(key, example_moments(key.digest))


def end(store: Store, task: str, last: MomentsKey) -> None:
    def ending(connection: Connection) -> None:
        finish_task(connection, task, "w")

    store.put(last, example_moments(last.digest), on_commit=ending)


def in_parts(monkeypatch: pytest.MonkeyPatch, bases: int) -> None:
    """Submissions go in transactions of so many bases, which are read before each."""
    monkeypatch.setattr(submitting, "PART_BASES", bases)
    monkeypatch.setattr(submitting, "FEW_BASES", 0)


def test_a_task_is_claimed_as_it_was_asked_for_and_shown_by_its_first_result(
    queue: JobQueue, leases: TaskLeases
) -> None:
    job = queue.submit(RECIPE, [asking("ACGT")])
    assert queue.submit(RECIPE, [asking("ACGT")]) == job
    (task,) = leases.claim("w")
    assert (task.id, task.workload.text, task.workload.layers) == (asking("ACGT").task, "ACGT", LAYERS)
    assert (task.workload.selections, task.cost) == (selections("ACGT"), 8)
    (record,) = queue.job(job).records
    assert (record.task, record.key, record.state) == (task.id, keys("ACGT")[0].digest, "running")


def test_it_shares_nothing_with_the_task_of_one_of_its_results(queue: JobQueue) -> None:
    queue.submit(RECIPE, [asking("ACGT"), plain("ACGT")])
    assert queue.stats().tasks == {"queued": 2}
    assert asking("ACGT").task not in {plain("ACGT").task, asking("ACGT", LAYERS[:1]).task}


def test_it_is_done_with_the_last_of_its_results_and_not_before(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, [asking("ACGT")])
    (task,) = leases.claim("w")
    put(store, keys("ACGT")[:-1])
    assert [record.state for record in queue.job(job).records] == ["running"]
    end(store, task.id, keys("ACGT")[-1])
    stored = queue.job(job)
    assert (stored.state, stored.progress.tokens_done, stored.progress.tokens_left) == ("done", 8, 0)
    assert queue.progress(job).state == "done"


def test_what_a_dead_worker_made_ready_stays_and_the_task_is_tried_again(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, [asking("ACGT")])
    leases.claim("dies")
    put(store, keys("ACGT")[:2])
    leases.release("dies")
    assert queue.job(job).state == "queued"
    (task,) = leases.claim("w")
    assert task.attempts == 2
    assert keys("ACGT")[0] in store


def test_all_results_there_make_a_job_done_at_once_and_fewer_do_not(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    put(store, keys("ACGT"))
    put(store, keys("CCGG")[:-1])
    job = queue.submit(RECIPE, [asking("ACGT"), asking("CCGG")])
    assert [record.state for record in queue.job(job).records] == ["done", "queued"]
    assert queue.progress(job).counts == {"done": 1, "queued": 1}
    assert [task.workload.text for task in leases.claim("w", tokens=100, count=10)] == ["CCGG"]
    put(store, keys("CCGG")[-1:])
    leases.fail(asking("CCGG").task, "w", "bad", retry=False)
    assert queue.job(job).state == "failed"
    assert queue.submit(RECIPE, [asking("ACGT"), asking("CCGG")]) == job
    assert queue.job(job).state == queue.progress(job).state == "done"


def test_a_result_that_was_lost_since_is_computed_again(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    put(store, keys("ACGT"))
    job = queue.submit(RECIPE, [asking("ACGT")])
    assert queue.job(job).state == "done"
    with store.database.writing() as connection:
        lost = {"key": keys("ACGT")[3].digest}
        connection.execute(sa.text("UPDATE entries SET state = 'retired' WHERE key = :key"), lost)
    assert queue.submit(RECIPE, [asking("ACGT")]) == job
    assert queue.job(job).state == "queued"
    assert [task.workload.text for task in leases.claim("w")] == ["ACGT"]


def test_claims_take_tasks_of_the_same_layers_together(queue: JobQueue, leases: TaskLeases) -> None:
    queue.submit(RECIPE, [asking("AAAA"), asking("CCCC")])
    queue.submit(RECIPE, [asking("AAAA", LAYERS[:1]), plain("GGGG")])
    claims = [leases.claim("w", tokens=1000, count=10) for _ in range(3)]
    assert [len(tasks) for tasks in claims] == [2, 2, 0]
    for tasks in claims[:2]:
        assert len({task.workload.layers for task in tasks}) == 1


def test_a_cancelled_one_goes_on_when_it_is_asked_for_again(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    job = queue.submit(RECIPE, [asking("ACGT"), asking("CCGG")])
    (running,) = leases.claim("w", count=1)
    queue.cancel(job)
    assert queue.job(job).state == "cancelled"
    assert leases.heartbeat("w", {running.id: 1}) == {running.id}
    assert queue.submit(RECIPE, [asking("ACGT"), asking("CCGG")]) == job
    assert leases.heartbeat("w", {running.id: 1}) == set()
    assert queue.progress(job).counts == {"running": 1, "queued": 1}


def test_many_bases_go_in_parts_the_longest_first_and_are_read_when_they_lack(
    queue: JobQueue, leases: TaskLeases, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch, 20)
    read: list[str] = []

    def lazily(bases: str) -> Request:
        return asking(bases, read=lambda: read.append(bases) or bases)  # type: ignore[func-returns-value]

    texts = ["A" * 12, "C" * 30, "G" * 11, "T" * 7, "AC" * 4]
    put(store, keys("G" * 11))
    job = queue.submit(RECIPE, [lazily(text) for text in texts])
    assert [len(text) for text in read] == [30, 12, 8, 7]
    states = [record.state for record in queue.job(job).records]
    assert states == ["queued", "queued", "done", "queued", "queued"]
    assert [task.workload.text for task in leases.claim("w", count=1)] == ["C" * 30]
    assert queue.submit(RECIPE, [lazily(text) for text in texts]) == job
    assert len(read) == 4, "what is queued already is not read again"


def test_a_submission_cut_off_between_parts_is_shared_by_the_next(
    queue: JobQueue, leases: TaskLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch, 10)

    def gone() -> str:
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        queue.submit(RECIPE, [asking("A" * 9), asking("C" * 8, read=gone)])
    assert queue.jobs(10) == []
    assert [task.workload.text for task in leases.claim("w")] == ["A" * 9]
    job = queue.submit(RECIPE, [asking("A" * 9), asking("C" * 8)])
    assert [record.state for record in queue.job(job).records] == ["running", "queued"]


def test_another_job_cancelled_between_parts_takes_nothing_away(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch, 10)
    other = queue.submit(RECIPE, [asking("A" * 9)])

    def cancelling() -> str:
        queue.cancel(other)
        return "C" * 8

    job = queue.submit(RECIPE, [asking("A" * 9), asking("C" * 8, read=cancelling)])
    assert [record.state for record in queue.job(job).records] == ["queued", "queued"]
    assert queue.job(other).state == "cancelled"


def test_the_time_left_counts_each_task_once_at_the_workers_latest_rates(
    queue: JobQueue, leases: TaskLeases, store: Store
) -> None:
    workers = Workers(store.database)
    job = queue.submit(RECIPE, [asking("ACGT"), asking("ACGT"), asking("CCGGTT")])
    assert workers.tokens_per_s() == 0
    assert queue.progress(job).eta_s(0.0) is None
    workers.announce(WorkerState("one", batch_tokens=100, batch_s=50))
    workers.announce(WorkerState("two", batch_tokens=30, batch_s=10))
    workers.announce(WorkerState("new"))
    rate = workers.tokens_per_s()
    assert rate == pytest.approx(5)
    assert queue.progress(job).eta_s(rate) == queue.job(job).progress.eta_s(rate) == pytest.approx(20 / 5)
    tasks = leases.claim("w", tokens=100, count=10)
    leases.heartbeat("w", {task.id: 5 for task in tasks})
    assert queue.progress(job).eta_s(rate) == queue.job(job).progress.eta_s(rate) == pytest.approx(10 / 5)
    queue.cancel(job)
    assert queue.progress(job).eta_s(rate) is None
