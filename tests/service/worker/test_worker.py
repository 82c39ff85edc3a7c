"""Worker: real processes that meet poison, want of memory, signals and cancellation lose no innocent task."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from covpool.extractor import Sequence, describe
from covpool.extractor.models.models import Model
from covpool.service.extraction.loaded_models import LoadedModels
from covpool.service.queue import JobQueue, Request, Workers
from covpool.store import MomentsKey, Store
from covpool.store.errors import CatalogError
from tests.extractor.golden import checkpoint
from tests.postgres import PostgresServer
from tests.service.running import COVPOOL, environment, wait_until
from tests.service.worker.faulty.sitecustomize import HARMS

FAULTY = Path(__file__).parent / "faulty"


@dataclass(frozen=True)
class Bench:
    """A store with its queue, and a worker process over it."""

    store: Store
    queue: JobQueue
    model: Model
    worker: psutil.Process

    def submit(self, *sequences: str) -> str:
        """A job over these bases."""
        recipe = self.model.recipe("up.2")
        return self.queue.submit(
            recipe,
            [
                Request.of_key(
                    bases, MomentsKey(Sequence("", bases).digest, len(bases), recipe), bases, len(bases)
                )
                for bases in sequences
            ],
        )

    def end(self, job: str, seconds: float = 60) -> dict[str, tuple[str, str | None]]:
        """State and error of each record once the job has ended."""
        wait_until(lambda: self.queue.progress(job).ended, "the job to end", seconds)
        return {record.name: (record.state, record.error) for record in self.queue.job(job).records}

    def attempts(self, bases: str) -> int:
        """How often a task was claimed."""
        with self.store.database.reading() as connection:
            query = f"SELECT attempts FROM tasks WHERE sequence = '{Sequence('', bases).digest}'"
            return int(connection.exec_driver_sql(query).scalar_one())

    def child(self) -> psutil.Process:
        """The process that computes."""
        (found,) = self.worker.children()
        return found


@contextmanager
def starting(directory: Path, **settings: str) -> Iterator[int]:
    """A worker over the store in `directory`, with the sequences that do harm; its process id."""
    path = os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")])
    chosen = {"store": str(directory / "store"), "models": f'["{directory / "tiny"}"]', **settings}
    with (directory / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [COVPOOL, "worker"],
            env=environment(max_attempts="2", **chosen) | {"PYTHONPATH": path},
            stderr=log,
        )
    with process:
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def working(directory: Path, catalog: str | None = None, **settings: str) -> Iterator[Bench]:
    """A worker over a new store."""
    model = describe(str(checkpoint(directory / "tiny")))
    if catalog is not None:
        settings["catalog"] = catalog
    with Store.open(directory / "store", catalog=catalog) as store:
        queue = JobQueue(store.database)
        with starting(directory, **settings) as process:
            yield Bench(store, queue, model, psutil.Process(process))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with working(tmp_path_factory.mktemp("worker"), lease_s="1") as directory:
        yield directory


def innocent(seed: str) -> list[str]:
    return [seed + "ACGTTGCA" * n for n in range(1, 6)]


@pytest.mark.parametrize(
    ("harm", "said", "mates"), [("kill", "SIGKILL", 3), ("abort", "SIGABRT", 0)], ids=["kill", "abort"]
)
def test_a_task_that_kills_its_process_is_quarantined_and_its_batch_mates_are_done(
    bench: Bench, harm: str, said: str, mates: int
) -> None:
    poison, others = HARMS[harm], innocent("A")[:mates]
    found = bench.end(bench.submit(*others, poison))
    assert [found[bases][0] for bases in others] == ["done"] * mates
    state, error = found[poison]
    assert state == "quarantined"
    assert error is not None
    assert error.startswith("2 attempts, then set aside")
    assert said in error
    assert bench.worker.is_running()
    assert [bench.attempts(bases) for bases in others] == [1] * mates, "innocent tasks were not charged"


def test_a_forward_that_wants_too_much_memory_is_tried_with_less(bench: Bench) -> None:
    bench.end(bench.submit("ACGTT"))
    child = bench.child()
    others = innocent("G")
    assert set(bench.end(bench.submit(HARMS["memory"], *others)).values()) == {("done", None)}
    assert bench.child() == child, "running out of memory did not cost the process"
    assert bench.attempts(HARMS["memory"]) == 1


def test_a_task_that_never_fits_is_quarantined_with_the_reason(bench: Bench) -> None:
    found = bench.end(bench.submit(HARMS["always memory"]))
    state, error = found[HARMS["always memory"]]
    assert state == "quarantined"
    assert error is not None
    assert "OutOfMemoryError: a forward of" in error


def test_what_lies_in_the_input_fails_at_once_and_alone(bench: Bench) -> None:
    others = innocent("T")
    found = bench.end(bench.submit(*others, HARMS["overflow"]))
    assert found.pop(HARMS["overflow"]) == ("failed", "layer up.6 overflowed")
    assert set(found.values()) == {("done", None)}
    assert bench.attempts(HARMS["overflow"]) == 1


def test_what_was_not_foreseen_is_tried_in_a_new_process(bench: Bench) -> None:
    bench.end(bench.submit("ACGT"))
    child = bench.child()
    found = bench.end(bench.submit(HARMS["bug"]))
    assert found[HARMS["bug"]] == (
        "quarantined",
        "2 attempts, then set aside; the last error: KeyError: 'nowhere'",
    )
    bench.end(bench.submit("ACGTA"))
    assert bench.child() != child


def test_a_child_that_died_idle_costs_no_attempt(bench: Bench) -> None:
    bench.end(bench.submit("ACGTACC"))
    bench.child().kill()
    assert bench.end(bench.submit("ACGTACG"))["ACGTACG"] == ("done", None)
    assert bench.attempts("ACGTACG") == 1


def test_a_forward_longer_than_the_lease_keeps_it(bench: Bench) -> None:
    assert bench.end(bench.submit(HARMS["slow"])) == {HARMS["slow"]: ("done", None)}
    assert bench.attempts(HARMS["slow"]) == 1


def test_a_running_task_is_cancelled(tmp_path: Path, postgres_url: str) -> None:
    with working(tmp_path, postgres_url, lease_s="1") as bench:
        job = bench.submit(HARMS["slow"])
        wait_until(lambda: bench.queue.progress(job).state == "running", "the task to be claimed")
        bench.queue.cancel(job)
        wait_until(lambda: bench.queue.stats().tasks == {"cancelled": 1}, "the task to be dropped", 10)
        assert bench.end(bench.submit("ACGT")) == {"ACGT": ("done", None)}
        assert [entry.length for entry in bench.store.catalog.entries()] == [4], "it was not cached"

        def told() -> list[tuple[str, int, int]]:
            return [
                (worker.device, worker.tasks, worker.tokens)
                for worker in Workers(bench.store.database).present()
            ]

        wait_until(lambda: told() == [("cpu", 1, 4)], "the worker to tell what it did")


def test_a_database_that_crashes_and_recovers_costs_no_task(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    with working(tmp_path, postgres_url, lease_s="2") as bench:
        jobs = [bench.submit(HARMS["slow"]), bench.submit(*innocent("A"))]
        for _ in range(2):
            wait_until(lambda: bench.queue.stats().tasks.get("running", 0) > 0, "a task to be claimed")
            # A backend that dies so makes the server drop every connection and recover from its log.
            server = psutil.Process(postgres.process.pid)
            backends = [child for child in server.children() if "127.0.0.1" in " ".join(child.cmdline())]
            backends[0].kill()
            wait_until(lambda: answers(bench.queue), "the database to recover")
        for job in jobs:
            assert {state for state, _ in bench.end(job).values()} == {"done"}
        assert bench.worker.is_running()


def answers(queue: JobQueue) -> bool:
    try:
        queue.stats()
    except CatalogError:
        return False
    return True


@pytest.mark.parametrize(("grace", "state"), [("20", "done"), ("0.2", "queued")])
def test_a_worker_told_to_stop_finishes_or_gives_back_what_it_runs(
    tmp_path: Path, grace: str, state: str
) -> None:
    with working(tmp_path, drain_s=grace) as bench:
        job = bench.submit(HARMS["slow"])
        wait_until(lambda: bench.queue.progress(job).state == "running", "the task to be claimed")
        time.sleep(0.5)
        bench.worker.terminate()
        bench.worker.wait(30)
    assert Workers(bench.store.database).present() == []
    assert bench.queue.job(job).state == state
    assert bench.attempts(HARMS["slow"]) == (1 if state == "done" else 0)


def test_models_used_least_recently_make_room(tmp_path: Path) -> None:
    models = [describe(str(checkpoint(tmp_path / name))) for name in ("one", "two", "three")]
    size = (tmp_path / "one" / "model.safetensors").stat().st_size
    loaded = LoadedModels("cpu", int(2.5 * size))
    for turn in (0, 1, 0, 2, 0):
        loaded.adapter(models[turn], "float32")
    # One weights' digest may stand for several names: they share an adapter.
    assert len(loaded.names) <= 2
    small = LoadedModels("cpu", 1)
    for model in models:
        small.adapter(model, "float32")
    assert len(small.names) == 1, "the model in use is kept whatever it takes"
