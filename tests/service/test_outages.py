"""A storage that is full, out of inodes, read-only or away pauses workers; no task loses an attempt for it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from covpool.store import Store
from tests.mounts import mounted, remount
from tests.service.running import COVPOOL, Running, environment, running_service, wait_until

#: Longer than two leases.
OUT_S = 5.0


@dataclass
class Outage:
    """How a storage goes away and comes back."""

    begin: Callable[[], None]
    end: Callable[[], None]
    says: str


@contextmanager
def full_disk(folder: Path) -> Iterator[Outage]:
    with mounted(folder / "store", "size=6m"):
        ballast = folder / "store" / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

        yield Outage(fill, ballast.unlink, "No space left on device")


@contextmanager
def no_inodes(folder: Path) -> Iterator[Outage]:
    with mounted(folder / "store", "size=60m,nr_inodes=300"):
        ballast = folder / "store" / "ballast"

        def fill() -> None:
            ballast.mkdir()
            try:
                for number in range(300):
                    (ballast / str(number)).touch()
            except OSError:
                pass

        def free() -> None:
            for one in ballast.iterdir():
                one.unlink()

        yield Outage(fill, free, "No space left on device")


@contextmanager
def read_only(folder: Path) -> Iterator[Outage]:
    """Of the arrays alone: a database that is open for writing keeps its file system from this."""
    (folder / "store").mkdir()
    with mounted(folder / "store" / "arrays", "size=60m"):
        arrays = folder / "store" / "arrays"
        yield Outage(lambda: remount(arrays, "ro"), lambda: remount(arrays, "rw"), "Read-only file system")


KINDS = {"full": full_disk, "inodes": no_inodes, "read-only": read_only}


def sequences(count: int, length: int = 400) -> list[str]:
    rng = np.random.default_rng(5)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def submit(service: Running, given: list[str]) -> str:
    answer = httpx.post(f"{service.url}/v1/jobs", json={"input": given}, timeout=60)
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json()["id"])


def ready(service: Running) -> tuple[int, str]:
    answer = httpx.get(f"{service.url}/health/ready", timeout=60)
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_pauses_the_worker_and_costs_no_attempt(tmp_path: Path, kind: str) -> None:
    with (
        KINDS[kind](tmp_path) as outage,
        running_service(tmp_path, lease_s="2", max_attempts="1", batch_records="4") as service,
    ):
        worker = service.workers()[0]
        first = sequences(3, 350)
        before = submit(service, first)
        url = f"{service.url}/v1/jobs"
        wait_until(lambda: httpx.get(f"{url}/{before}").json()["state"] == "done", "the first job")
        key = httpx.get(f"{url}/{before}").json()["records"][0]["key"]
        given = sequences(12, 200_000 if kind == "read-only" else 60_000)
        job = submit(service, given)
        wait_until(lambda: httpx.get(f"{url}/{job}").json()["state"] == "running", "the job to be under way")
        outage.begin()
        began = time.monotonic()
        wait_until(lambda: ready(service)[0] == 503, "readiness to say so")
        assert outage.says in ready(service)[1]
        assert "since" in ready(service)[1]
        wait_until(lambda: "pauses" in service.log.read_text(), "the worker to pause")
        while time.monotonic() < began + OUT_S:
            # What is cached is served all the time.
            assert httpx.get(f"{service.url}/v1/moments/{key}").status_code == 200
            time.sleep(0.1)
        told = subprocess.run(
            [COVPOOL, "status", "--url", service.url], capture_output=True, text=True, check=True
        )
        assert outage.says in told.stderr
        states = {one["state"] for one in httpx.get(f"{url}/{job}").json()["records"]}
        assert states <= {"queued", "running", "done"}
        assert "covpool_storage_up 0.0" in httpx.get(f"{service.url}/metrics").text
        outage.end()
        wait_until(lambda: ready(service)[0] == 200, "readiness to be back")
        wait_until(lambda: httpx.get(f"{url}/{job}").json()["state"] == "done", "the job to go on", 120)
        # With one attempt allowed, one that counted would have set its task aside.
        assert service.rows("SELECT max(attempts), count(*) FROM tasks WHERE state = 'done'") == [(1, 15)]
        assert worker.is_running(), "the same process all along"
        assert "goes on after" in service.log.read_text()
    assert environment
    assert Store
