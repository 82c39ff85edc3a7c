"""The queue: claims per second, and what a job costs over the bare extraction of the same sequences.

Claims: processes on one database claim tasks, one at a time or in batches, and end each in a transaction of
its own. The peer is a commit of one row by as many processes in the same database: what any durable queue
pays at least. Overhead: a job over HTTP through a running service, in turn with `extract_many` of the same
sequences in this process; the store's write is part of the job and not of the peer.
Give the URL of an empty Postgres database as the argument to have its rows too.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from covpool.extractor import Options, extract_many, load_adapter, normalise
from covpool.service.queue import JobQueue, Request
from covpool.store import MomentsKey, Store, sequence_digest
from covpool.store.testing import example_key

TASKS = 1200
PROCESSES = (1, 4)
BATCHES = (1, 64)
ROUNDS = 5
COUNT = 32
LENGTHS = (300, 3000)

CLAIMER = """
import sys
from covpool.service.queue import TaskLeases
from covpool.service.queue.leases import finish_task
from covpool.store import Store
store, catalog, name, count = sys.argv[1:]
with Store.open(store, catalog=catalog) as opened:
    queue = TaskLeases(opened.database, lease_s=1000)
    print("ready", flush=True)
    sys.stdin.readline()
    while tasks := queue.claim(name, tokens=1 << 40, count=int(count)):
        for task in tasks:
            with opened.database.writing() as connection:
                finish_task(connection, task.id, name)
    print("done", flush=True)
"""

COMMITTER = """
import sys
import sqlalchemy as sa
from covpool.store import Store
store, catalog, name, count = sys.argv[1:]
with Store.open(store, catalog=catalog) as opened:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        with opened.database.writing() as connection:
            connection.execute(sa.text("INSERT INTO bench VALUES (:name)"), {"name": f"{name} {number}"})
    print("done", flush=True)
"""


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        print(f"claims and ends per second, {TASKS:,} tasks; in brackets over bare commits")
        print("database   processes   commits/s   one at a time   64 at a time")
        databases = {"SQLite": f"sqlite:///{directory / 'claims.sqlite'}"}
        if len(sys.argv) > 1:
            databases["Postgres"] = sys.argv[1]
        for database, url in databases.items():
            for processes in PROCESSES:
                commits = _commits(directory / "store", url, processes)
                found = [_claims(directory / "store", url, processes, batch) for batch in BATCHES]
                shown = "   ".join(f"{rate:7.0f} ({rate / commits:.2f})" for rate in found)
                print(f"{database:8s}   {processes:9d}   {commits:9.0f}   {shown}")
        print()
        print(f"a job of {COUNT} sequences over extract_many, ntv3-mini float32, median of {ROUNDS} pairs")
        print("bp       bare ms   job ms   over ms   ratio   over ms per sequence")
        for length in LENGTHS:
            _overhead(directory / str(length), length)


def _claims(store: Path, url: str, processes: int, batch: int) -> float:
    recipe = example_key("a").recipe
    with Store.open(store, catalog=url) as opened:
        queue = JobQueue(opened.database)
        texts = [f"{processes} {batch} {number}" for number in range(TASKS)]
        queue.submit(
            recipe,
            [Request.of_key(t, MomentsKey(sequence_digest(t), 1, recipe), "A" * 1000, 1000) for t in texts],
        )
    return TASKS / _together(CLAIMER, store, url, processes, str(batch))


def _commits(store: Path, url: str, processes: int) -> float:
    with Store.open(store, catalog=url) as opened, opened.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS bench")
        connection.exec_driver_sql("CREATE TABLE bench (name TEXT PRIMARY KEY)")
    return TASKS / _together(COMMITTER, store, url, processes, str(TASKS // processes))


def _together(code: str, store: Path, url: str, processes: int, argument: str) -> float:
    """Seconds from a common start until the last process is done."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store), url, f"w{number}", argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
    seconds = time.perf_counter() - started
    for process in running:
        process.communicate()
    return seconds


def _overhead(directory: Path, length: int) -> None:
    directory.mkdir()
    rng = np.random.default_rng(length)
    adapter = load_adapter("ntv3-mini", device="cpu", dtype="float32")
    layer = adapter.model.default_layer
    pairs = []
    with _service(directory) as url, httpx.Client(base_url=url, timeout=120) as http:
        for _ in range(ROUNDS + 1):
            texts = ["".join(rng.choice(list("ACGT"), length)) for _ in range(COUNT)]
            sequences = [normalise(text, str(number)) for number, text in enumerate(texts)]
            started = time.perf_counter()
            for _ in extract_many(adapter, sequences, [layer], Options()):
                pass
            bare = time.perf_counter() - started
            started = time.perf_counter()
            answer = http.post("/v1/jobs", json={"input": texts}, headers={"Prefer": "wait=60"})
            assert answer.json()["state"] == "done", answer.text
            pairs.append((bare, time.perf_counter() - started))
    # The first pair loads the model.
    bare, job = (1e3 * statistics.median(times) for times in zip(*pairs[1:], strict=True))
    over = job - bare
    print(f"{length:5d}   {bare:7.0f}   {job:6.0f}   {over:7.0f}   {job / bare:5.2f}   {over / COUNT:.1f}")


@contextmanager
def _service(directory: Path) -> Iterator[str]:
    """The address of a service with one worker over `directory`."""
    covpool = Path(sys.executable).parent / "covpool"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(covpool), "serve", "--store", str(directory / "store"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, (directory / "log").read_text()
        try:
            yield found.group()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
