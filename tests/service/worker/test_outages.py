"""A storage that is full, out of inodes, read-only or away pauses workers and costs no attempt."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from covpool.store import Store
from tests.mounts import mounted, remount
from tests.s3 import S3Server
from tests.service.running import COVPOOL, Running, environment, running_service, wait_until

LEASE_S = 1.0
#: Longer than two leases.
OUT_S = 2.2


class Ballast:
    """Files that leave no room in a mounted folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "ballast"

    def fill(self) -> None:
        """Until not a byte goes in."""
        self._folder.mkdir()
        with suppress(OSError), (self._folder / "bytes").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def take_inodes(self) -> None:
        """Until no file can be made."""
        self._folder.mkdir()
        with suppress(OSError):
            for number in range(10_000):
                (self._folder / str(number)).touch()

    def free(self) -> None:
        """All of it."""
        for one in self._folder.iterdir():
            one.unlink()
        self._folder.rmdir()


def sequences(seed: int, count: int, length: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def submit(service: Running, given: list[str]) -> str:
    answer = httpx.post(f"{service.url}/v1/jobs", json={"input": given}, timeout=60)
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json()["id"])


def ready(service: Running) -> tuple[int, str]:
    answer = httpx.get(f"{service.url}/health/ready", timeout=60)
    return answer.status_code, answer.json()["detail"]


def outlast(
    service: Running, seed: int, begin: Callable[[], None], end: Callable[[], None], says: str
) -> None:
    """A job that meets an outage half-way ends as if there had been none; with one attempt each."""
    url, worker = f"{service.url}/v1/jobs", service.workers()[0]
    job = submit(service, sequences(seed, 30, 8_000))
    wait_until(lambda: httpx.get(f"{url}/{job}").json()["records_done"] >= 2, "the job to be under way")
    key = next(
        record["key"] for record in httpx.get(f"{url}/{job}").json()["records"] if record["state"] == "done"
    )
    begin()
    began, paused = time.monotonic(), service.log.read_text().count("pauses")
    try:
        wait_until(lambda: says in ready(service)[1], "readiness to say so")
        assert ready(service)[0] == 503
        assert "since" in ready(service)[1]
        wait_until(lambda: service.log.read_text().count("pauses") > paused, "the worker to pause")
        while time.monotonic() < began + OUT_S:
            # What is cached is served all the time, also to those who come new.
            assert httpx.get(f"{service.url}/v1/moments/{key}", timeout=60).status_code == 200
            time.sleep(0.1)
        assert "covpool_storage_up 0.0" in httpx.get(f"{service.url}/metrics", timeout=60).text
        states = {record["state"] for record in httpx.get(f"{url}/{job}", timeout=60).json()["records"]}
        assert states <= {"queued", "running", "done"}
        assert states != {"done"}
    finally:
        end()
    wait_until(lambda: ready(service)[0] == 200, "readiness to be back")
    wait_until(lambda: httpx.get(f"{url}/{job}").json()["state"] == "done", "the job to go on")
    assert worker.is_running(), "the same process all along"
    assert "goes on after" in service.log.read_text()


@pytest.mark.timeout(240)
def test_storage_that_is_full_or_read_only_costs_no_attempt(tmp_path: Path) -> None:
    """One service through both; the arrays lie in a file system of their own, beside the database's."""
    with mounted(tmp_path / "store", "size=60m"):
        arrays, database = tmp_path / "store" / "arrays", Ballast(tmp_path / "store")
        with (
            mounted(arrays, "size=8m"),
            running_service(
                tmp_path, lease_s=str(LEASE_S), max_attempts="1", batch_records="4", keep_s="0"
            ) as service,
        ):
            own = Ballast(arrays)

            def fill() -> None:
                own.fill()
                database.fill()

            def free() -> None:
                database.free()
                own.free()

            outlast(service, 1, fill, free, "No space left on device")
            outlast(
                service,
                3,
                lambda: remount(arrays, "ro"),
                lambda: remount(arrays, "rw"),
                "Read-only file system",
            )
            # With one attempt allowed, one that counted would have set its task aside.
            done = service.rows("SELECT state, max(attempts), count(*) FROM tasks GROUP BY state")
            assert done == [("done", 1, 60)]
            told = subprocess.run(
                [COVPOOL, "status", "--url", service.url], capture_output=True, text=True, check=True
            )
            assert told.stderr == ""
            with Store.open(tmp_path / "store") as store:
                assert store.verify() == []


class Wire:
    """A port that leads to another, and can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accept()

    def cut(self) -> None:
        """Refuse connections, and end those there are."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Lead there again."""
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._accept()

    def _accept(self) -> None:
        server = self._server

        def loop() -> None:
            with suppress(OSError):
                while True:
                    ours, _ = server.accept()
                    theirs = socket.create_connection(("127.0.0.1", self._to))
                    self._open += [ours, theirs]
                    for ends in ((ours, theirs), (theirs, ours)):
                        threading.Thread(target=self._copy, args=ends, daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.mark.timeout(240)
def test_object_storage_that_cannot_be_reached_costs_no_attempt(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(int(s3.endpoint.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    bucket = f"s3://{s3.new_bucket()}/genes"
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    with running_service(
        tmp_path, bucket, catalog=catalog, lease_s=str(LEASE_S), max_attempts="1", batch_records="4"
    ) as service:
        url = f"{service.url}/v1/jobs"
        job = submit(service, sequences(4, 12, 8_000))
        wait_until(lambda: httpx.get(f"{url}/{job}").json()["records_done"] >= 1, "the job to be under way")
        wire.cut()
        try:
            wait_until(lambda: ready(service)[0] == 503, "readiness to say so")
            wait_until(lambda: "pauses" in service.log.read_text(), "the worker to pause")
        finally:
            wire.mend()
        wait_until(lambda: httpx.get(f"{url}/{job}").json()["state"] == "done", "the job to go on")
        wait_until(lambda: ready(service)[0] == 200, "readiness to be back")
    with Store.open(bucket, catalog=catalog) as store:
        with store.database.reading() as connection:
            (found,) = connection.exec_driver_sql("SELECT max(attempts), count(*) FROM tasks").all()
        assert tuple(found) == (1, 12)
        assert store.verify() == []


#: Of the bulk runs.
GENES = 40


def genome(folder: Path, genes: int, length: int) -> list[str]:
    """Files of a small genome; the options that name them."""
    bases = sequences(6, 1, genes * (length + 10))[0]
    (folder / "g.fa").write_text(f">c\n{bases}\n")
    lines = [
        f"c\tt\tgene\t{at * (length + 10) + 1}\t{at * (length + 10) + length}\t.\t+\t.\tID=g{at}"
        for at in range(genes)
    ]
    (folder / "g.gff3").write_text("##gff-version 3\n" + "\n".join(lines) + "\n")
    return ["--genome", str(folder / "g.fa"), "--annotation", str(folder / "g.gff3"), "--assembly", "t"]


def bulk(folder: Path, log: Path, *more: str) -> "subprocess.Popen[bytes]":
    files = genome(folder, GENES, 6_000)
    # Also where the tests run in the background, whose processes ignore interrupts.
    code = (
        "import signal\nif __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    from covpool.service.commands.precompute import precompute\n    precompute()\n"
    )
    (folder / "command.py").write_text(code)
    with log.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, str(folder / "command.py"), *files, "--store", str(folder / "store"), *more],
            env=environment(),
            stderr=errors,
            stdout=subprocess.DEVNULL,
        )


def test_a_bulk_run_pauses_says_so_and_goes_on(tmp_path: Path) -> None:
    with mounted(tmp_path / "store", "size=8m,nr_inodes=1000"):
        store, log, ballast = tmp_path / "store", tmp_path / "log", Ballast(tmp_path / "store")
        run = bulk(tmp_path, log)
        wait_until(lambda: len(list(store.glob("arrays/*/mean/c.*"))) >= 3, "the run to be under way")
        ballast.take_inodes()
        wait_until(lambda: "paused since" in log.read_text(), "the run to say that it pauses")
        assert "No space left on device" in log.read_text()
        assert run.poll() is None
        ballast.free()
        assert run.wait(90) == 0, log.read_text()
        assert "goes on after" in log.read_text()
        assert_complete(store)


@pytest.mark.slow
def test_a_paused_run_on_dask_goes_on_and_can_be_interrupted(tmp_path: Path) -> None:
    with mounted(tmp_path / "store", "size=8m"):
        store, log, ballast = tmp_path / "store", tmp_path / "log", Ballast(tmp_path / "store")
        run = bulk(tmp_path, log, "--workers", "2")
        for times in (1, 2):
            before = len(list(store.glob("arrays/*/mean/c.*")))
            wait_until(lambda: len(list(store.glob("arrays/*/mean/c.*"))) > before, "the run to go on")  # noqa: B023
            ballast.fill()
            wait_until(lambda: log.read_text().count("paused since") == times, "the run to pause")  # noqa: B023
            if times == 1:
                ballast.free()
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 1
        ballast.free()
        assert bulk(tmp_path, log).wait(90) == 0, log.read_text()
        assert_complete(store)


def assert_complete(location: Path) -> None:
    with Store.open(location) as store:
        assert len(store) == GENES
        assert store.verify() == []
