"""A killed worker is replaced and its job finishes, nothing outlives the service, no torch in it."""

import signal
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from covpool.clients import Client
from tests.service.running import COVPOOL, Running, environment, running_service, wait_until

#: Long enough that its extraction is still under way when we look.
LONG = "ACGTTGCAGGATTC" * 4_000


def maps(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_the_api_process_never_loads_torch_and_the_worker_does(service: Running, http: httpx.Client) -> None:
    assert http.post("/v1/embeddings", json={"input": "ACGTAC"}).status_code == 200
    http.post("/v1/embeddings", json={"input": "not DNA"})
    (worker,) = service.workers()
    (child,) = worker.children()
    assert "libtorch" in maps(child), "the process that computes does not show what is looked for"
    assert "libtorch" not in maps(worker)
    assert "libtorch" not in maps(service.process)


@pytest.mark.slow
def test_jobs_outlive_killed_workers_killed_services_and_shutdown(tmp_path: Path) -> None:
    with running_service(tmp_path, lease_s="600") as service, Client(service.url) as client:
        client.embed("ACGT")
        (first,) = service.workers()
        job = client.submit(LONG)
        wait_until(lambda: client.job(job).state == "running", "the worker to claim the task")
        first.kill()
        stored = client.wait(job, timeout_s=60)
        assert stored.state == "done"
        (second,) = service.workers()
        assert second.pid != first.pid
        key = stored.records[0].key
        # It was under way when its worker was killed: the second attempt did it.
        assert service.rows("SELECT attempts FROM tasks WHERE key = ?", key) == [(2,)]
        moments = client.moments(key)
        assert moments.count == len(LONG)

        # And now the API process itself, in the middle of another task: the worker must not linger.
        job = client.submit(LONG + "A")
        wait_until(lambda: client.job(job).state == "running", "the worker to claim the task")
        service.process.kill()
        _, left = psutil.wait_procs([service.process, second], timeout=30)
        for one in left:
            one.kill()
        assert left == [], "the worker outlived its service"

    # A service that starts over the same store goes on with the job.
    with running_service(tmp_path) as service, Client(service.url) as client:
        assert client.wait(job, timeout_s=60).state == "done"
        assert service.rows("SELECT count(*) FROM entries WHERE state = 'ready'") == [(3,)]

        # Told to stop in the middle of a task, it lets its worker finish that.
        job = client.submit(LONG + "C")
        wait_until(lambda: client.job(job).state == "running", "the worker to claim the task")
    key = job.records[0].key
    assert service.rows("SELECT state, attempts FROM tasks WHERE key = ?", key) == [("done", 1)]


def test_a_service_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [COVPOOL, "serve", "--store", str(tmp_path / "store"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
        )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        api = psutil.Process(process.pid)
        wait_until(lambda: bool(api.children()), "the worker to be started")
        family = [api, *api.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    _, left = psutil.wait_procs(family, timeout=30)
    assert left == []


def test_a_taken_port_is_refused_at_once(service: Running, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    result = subprocess.run(
        [COVPOOL, "serve", "--store", str(tmp_path), "--port", port],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "choose another --port" in result.stderr


def test_a_store_that_cannot_be_opened_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    result = subprocess.run(
        [COVPOOL, "serve", "--store", str(path), "--port", "0"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {path}: cannot hold a store")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "settings", "word"),
    [(["--port", "99999"], {}, "port"), ([], {"workers": "-1"}, "workers"), ([], {"port": "x"}, "port")],
    ids=["option", "variable", "text"],
)
def test_an_impossible_setting_is_wrong_use(
    tmp_path: Path, options: list[str], settings: dict[str, str], word: str
) -> None:
    result = subprocess.run(
        [COVPOOL, "serve", "--store", str(tmp_path), *options],
        capture_output=True,
        text=True,
        env=environment(**settings),
    )
    assert result.returncode == 2
    assert f"Error: {word}: " in result.stderr
    assert "Traceback" not in result.stderr
