"""Worker: a fit runs beside the extraction; what happens to one of them does not touch the other."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from covpool.service.fitting.fits import Fits
from covpool.service.queue import Workers
from covpool.service.queue.task_rows import fit_key
from tests.service.running import wait_until
from tests.service.worker.faulty.sitecustomize import HARMS
from tests.service.worker.test_worker import Bench, starting, working

TRAINING = ["ACGTACGTTA", "GGCATTACGA", "TTTTACGCAA", "CCGATATCGA"]


@contextmanager
def trained(directory: Path) -> Iterator[Bench]:
    """A worker over a store with moments to fit on."""
    with working(directory, lease_s="1", drain_s="0.2") as bench:
        assert set(bench.end(bench.submit(*TRAINING)).values()) == {("done", None)}
        yield bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with trained(tmp_path_factory.mktemp("worker")) as bench:
        yield bench


def fit(bench: Bench, name: str) -> Fits:
    """The fits, once one of this name is running."""
    fits = Fits(bench.store.database)
    recipe = bench.model.recipe("up.2").to_json()
    fits.submit(
        name,
        {
            "name": name,
            "recipe": recipe,
            "job": None,
            "targets": None,
            "k": 2,
            "method": "eigenvectors",
            "settings": {},
        },
    )
    wait_until(lambda: fits.get(name).state == "running", "the fit to begin")
    return fits


def ended(fits: Fits, name: str) -> tuple[str, str | None]:
    wait_until(lambda: fits.get(name).state not in ("queued", "running"), "the fit to end")
    return fits.get(name).state, fits.get(name).error


def attempts(bench: Bench, name: str) -> tuple[int, int]:
    """Of a fit and of the slow sequence."""
    with bench.store.database.reading() as connection:
        query = f"SELECT attempts FROM tasks WHERE key = '{fit_key(name)}'"
        return connection.exec_driver_sql(query).scalar_one(), bench.attempts(HARMS["slow"])


def child_of(bench: Bench, program: str) -> psutil.Process:
    def running() -> list[psutil.Process]:
        return [child for child in bench.worker.children() if program in " ".join(child.cmdline())]

    wait_until(lambda: len(running()) == 1, f"{program} to run")
    return running()[0]


def slow_job(bench: Bench) -> str:
    job = bench.submit(HARMS["slow"])
    wait_until(lambda: bench.queue.progress(job).state == "running", "the slow sequence to begin")
    return job


def test_a_sequence_does_not_wait_for_the_fit_of_the_only_worker(bench: Bench) -> None:
    fits = fit(bench, "slow")
    assert bench.end(bench.submit("ACGTTGCA")) == {"ACGTTGCA": ("done", None)}
    assert fits.get("slow").state == "running"
    assert ended(fits, "slow") == ("done", None)
    assert fits.served(fresh=True)["slow"].shape == (2, 2)
    wait_until(lambda: Workers(bench.store.database).present()[0].tasks == len(TRAINING) + 2, "its count")


def test_both_run_at_once_and_a_child_that_is_killed_costs_the_other_nothing(bench: Bench) -> None:
    job = slow_job(bench)
    fits = fit(bench, "beside")
    assert bench.queue.job(job).state == "running"
    child_of(bench, "fit_program").kill()
    child_of(bench, "engine_program").kill()
    assert bench.end(job) == {HARMS["slow"]: ("done", None)}
    assert ended(fits, "beside") == ("done", None)
    # A sequence whose process died is tried again at once, within its attempt. No lease has expired.
    assert attempts(bench, "beside") == (2, 1)


@pytest.mark.parametrize(("how", "tries"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)], ids=["kill", "term"])
def test_both_go_to_another_worker_when_theirs_ends(tmp_path: Path, how: signal.Signals, tries: int) -> None:
    with trained(tmp_path) as bench:
        job = slow_job(bench)
        fits = fit(bench, "moves")
        children = [child_of(bench, "fit_program"), child_of(bench, "engine_program")]
        bench.worker.send_signal(how)
        _, alive = psutil.wait_procs([bench.worker, *children], timeout=15)
        assert not alive
        with starting(tmp_path, lease_s="1"):
            assert bench.end(job) == {HARMS["slow"]: ("done", None)}
            assert ended(fits, "moves") == ("done", None)
        assert attempts(bench, "moves") == (tries, tries)
