"""Kill -9 at random, of workers, of what computes for them and of the API, under load: nothing is lost.

The counts are logged: run with `--log-cli-level=INFO` to see them.
"""

import contextlib
import logging
import random
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from covpool.extractor import extract, load_adapter
from covpool.store import MomentsKey, Store, sequence_digest
from tests.extractor.golden import checkpoint
from tests.service.running import COVPOOL, environment, wait_until

log = logging.getLogger(__name__)

#: Batch mates change the last bits of a forward; of float64 ones they are gone once rounded to float32.
DTYPE = "float64"
LAYER = "up.2"
TRIES = 8
END_S = 120.0


class Service:
    """`covpool serve` with two supervised workers, and a `covpool worker` beside it."""

    def __init__(self, directory: Path, catalog: str | None) -> None:
        self._directory = directory
        settings = {
            "store": str(directory / "store"),
            "models": f'["{directory / "tiny"}"]',
            "dtype": DTYPE,
            "lease_s": "2",
            "max_attempts": str(TRIES),
            "batch_records": "8",
            "drain_s": "5",
            "port": "0",
            "workers": "2",
        } | ({} if catalog is None else {"catalog": catalog})
        self._environment = environment(**settings)
        self._log = (directory / "log").open("ab")
        self._over = False
        self.api = self._serve()
        self.url = self._url()
        self._environment["COVPOOL_PORT"] = self.url.rpartition(":")[2]
        self.worker = self._work()

    def revive(self) -> None:
        """Start again what was killed, as an init system would."""
        if self.api.poll() is not None:
            assert self.api.stdout is not None
            self.api.stdout.close()
            self.api = self._serve()
            self._url()
        if self.worker.poll() is not None:
            self.worker = self._work()

    def family(self) -> list[psutil.Process]:
        """Every process of the service that lives."""
        found = []
        for top in (self.api, self.worker):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(top.pid)
                found += [process, *process.children(recursive=True)]
        return [one for one in found if _lives(one)]

    def stop(self) -> None:
        """End everything."""
        left = self.family()
        for top in (self.api, self.worker):
            top.terminate()
        for top in (self.api, self.worker):
            top.wait(40)
        if self.api.stdout is not None:
            self.api.stdout.close()
        self._log.close()
        _, left = psutil.wait_procs(left, timeout=10)
        assert left == []

    def _serve(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [COVPOOL, "serve"], env=self._environment, stdout=subprocess.PIPE, stderr=self._log
        )

    def _work(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([COVPOOL, "worker"], env=self._environment, stderr=self._log)

    def _url(self) -> str:
        assert self.api.stdout is not None
        found = re.search(r"http://\S+", self.api.stdout.readline().decode())
        assert found is not None, (self._directory / "log").read_text()[-3000:]
        return found.group()


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


class Load:
    """Submits jobs all the time; remembers those the service accepted. Many share sequences."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._random = random.Random(seed)
        lengths = [self._random.randint(20, 600) for _ in range(400)]
        self.sequences = ["".join(self._random.choices("ACGT", k=length)) for length in lengths]
        self.accepted: dict[str, list[str]] = {}
        self.refused = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=10) as http:
            while not self._stop.is_set():
                chosen = self._random.choices(self.sequences, k=self._random.randint(1, 6))
                body = {"input": chosen, "model": "tiny", "layer": LAYER}
                try:
                    answer = http.post(f"{self._url}/v1/jobs", json=body)
                    assert answer.status_code in (200, 202), answer.text
                    self.accepted[answer.json()["id"]] = chosen
                except httpx.TransportError:
                    # The API is dead, or died before it answered: not accepted, as far as a client knows.
                    self.refused += 1
                    self._stop.wait(0.3)
                self._stop.wait(0.05)


@contextmanager
def service(directory: Path, catalog: str | None) -> Iterator[Service]:
    checkpoint(directory / "tiny")
    found = Service(directory, catalog)
    with ExitStack() as stack:
        stack.callback(found.stop)
        yield found


def ended(running: Service, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + END_S
    while True:
        # The one killed last may not have been dead yet when it was looked at.
        running.revive()
        with contextlib.suppress(httpx.TransportError):
            response = dict(httpx.get(f"{running.url}/v1/jobs/{job}", timeout=10).json())
            if response["state"] in ("done", "failed"):
                return response
        assert time.monotonic() < deadline, f"job {job} did not end"
        time.sleep(0.1)


def hurt(directory: Path, catalog: str | None, kills: int, pause: tuple[float, float]) -> None:
    killed: dict[str, int] = {}
    chance = random.Random(7)
    kinds = deque(["worker", "computing", "worker", "computing", "API"])
    with service(directory, catalog) as running:
        with Load(running.url, seed=11) as load:
            wait_until(lambda: len(load.accepted) > 3, "the first jobs to be accepted")
            while sum(killed.values()) < kills:
                time.sleep(chance.uniform(*pause))
                victims = [process for process in running.family() if _kind(process) == kinds[0]]
                if victims:
                    chance.choice(victims).kill()
                    killed[kinds[0]] = killed.get(kinds[0], 0) + 1
                kinds.rotate()
                running.revive()
        jobs = {job: ended(running, job) for job in load.accepted}
    states = check(directory, catalog, load, jobs)
    log.info("kills %s; %d jobs accepted, %d not; tasks %s", killed, len(jobs), load.refused, states)
    assert len(killed) == 3, "each kind of process was killed"


def _kind(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        words = " ".join(process.cmdline())
        return "API" if " serve" in words else "computing" if "engine_program" in words else "worker"
    return "gone"


def check(
    directory: Path, catalog: str | None, load: Load, jobs: dict[str, dict[str, Any]]
) -> dict[str, int]:
    """Nothing lost, wrong or twice; the states of all tasks."""
    adapter = load_adapter(str(directory / "tiny"), device="cpu", dtype=DTYPE)
    recipe = adapter.model.recipe(LAYER, dtype=DTYPE)
    wanted = {bases for chosen in load.accepted.values() for bases in chosen}
    keys = {MomentsKey(sequence_digest(bases), len(bases), recipe).digest: bases for bases in wanted}
    with Store.open(directory / "store", catalog=catalog) as store:
        quarantined = set()
        for job, chosen in load.accepted.items():
            records = jobs[job]["records"]
            assert [keys[record["key"]] for record in records] == chosen
            for record in records:
                assert record["state"] in ("done", "quarantined"), record
                if record["state"] == "quarantined":
                    assert "attempts, then set aside" in record["error"]
                    quarantined.add(record["key"])
        for key, bases in keys.items():
            if key in quarantined:
                continue
            stored, direct = store.get(key), extract(adapter, bases, [LAYER])[LAYER].astype("float32")
            assert stored.count == direct.count
            assert np.array_equal(stored.mean, direct.mean), bases
            assert np.array_equal(stored.second_moment, direct.second_moment), bases
        with store.database.reading() as connection:
            entries = connection.execute(sa.text("SELECT key, namespace, row, state FROM entries")).all()
            counted = connection.execute(sa.text("SELECT state, count(*) FROM tasks GROUP BY state")).all()
    states = {str(state): int(number) for state, number in counted}
    # Who was killed while writing leaves a row behind that was never ready.
    ready = [entry.key for entry in entries if entry.state == "ready"]
    assert len(set(ready)) == len(ready)
    assert len({(entry.namespace, entry.row) for entry in entries}) == len(entries)
    assert set(states) <= {"done", "quarantined"}, "a task was left behind"
    return states


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    hurt(tmp_path, None, kills=5, pause=(0.2, 0.6))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_kills_over_two_databases_lose_nothing(tmp_path: Path, database_url: str) -> None:
    catalog = None if database_url.startswith("sqlite") else database_url
    hurt(tmp_path, catalog, kills=26, pause=(0.2, 1.0))
