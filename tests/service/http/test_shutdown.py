"""Told to stop, a service answers what is under way: results, bodies and streams; and it is not ready."""

import http.client
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from covpool.service.http.shutdown import Shutdown
from covpool.service.queue import WorkerState
from covpool.store import Store
from covpool.store.testing import example_key, example_moments
from tests.service.in_process import in_process
from tests.service.running import running_service, wait_until

#: Takes a worker seconds.
LONG = "ACGTTGCATTGACCAT" * 10_000


def test_nothing_in_flight_is_lost_when_the_service_is_told_to_stop(tmp_path: Path) -> None:
    key = example_key("wide")
    with Store.open(tmp_path / "store") as store:
        store.put(key, example_moments("wide", 1536))
    answers: dict[str, Any] = {}
    with running_service(tmp_path, shutdown_s="90", drain_s="60") as service:

        def embed() -> None:
            answers["embedding"] = httpx.post(
                f"{service.url}/v1/embeddings",
                json={"input": LONG},
                headers={"Prefer": "wait=60"},
                timeout=120,
            )

        asking = threading.Thread(target=embed)
        asking.start()
        rows = "SELECT state FROM tasks"
        wait_until(lambda: service.rows(rows) == [("running",)], "the task to run")
        # A client that has read the head of a large body, and takes its time for the rest.
        download = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=60)
        download.request("GET", f"/v1/moments/{key.digest}")
        body = download.getresponse()
        first = body.read(1000)
        assert service.rows(rows) == [("running",)], "the sequence was too short for this test"
        service.process.terminate()
        time.sleep(0.5)
        whole = first + body.read()
        download.close()
        asking.join()
        service.process.wait(60)
    assert len(whole) == int(body.headers["content-length"]) > 4 * 1536**2
    assert answers["embedding"].status_code == 200
    assert answers["embedding"].json()["data"][0]["shape"] == [16, 16]


def test_a_stream_of_events_ends_and_a_wait_is_answered_with_the_job(tmp_path: Path) -> None:
    """No worker here, so neither would end by itself."""
    with running_service(tmp_path, workers="0", ready_without_workers="true", shutdown_s="4") as service:
        job = httpx.post(f"{service.url}/v1/jobs", json={"input": "ACGT"}).json()["id"]
        answers: dict[str, Any] = {}

        def wait() -> None:
            answers["wait"] = httpx.post(
                f"{service.url}/v1/jobs", json={"input": "ACGT"}, headers={"Prefer": "wait=50"}, timeout=60
            )

        def listen() -> None:
            answers["events"] = httpx.get(f"{service.url}/v1/jobs/{job}/events", timeout=60)

        threads = [threading.Thread(target=one) for one in (wait, listen)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        began = time.monotonic()
        service.process.terminate()
        for thread in threads:
            thread.join()
        service.process.wait(30)
        assert time.monotonic() - began < 20
    assert answers["wait"].status_code == 202
    assert answers["wait"].headers["location"] == f"/v1/jobs/{job}"
    assert "event: progress" in answers["events"].text
    assert "event: end" not in answers["events"].text


@pytest.fixture
def api(tmp_path: Path) -> Any:
    with in_process(tmp_path / "store") as running:
        yield running


def ready(api: TestClient) -> tuple[int, str]:
    answer = api.get("/health/ready")
    return answer.status_code, answer.json()["detail"]


def test_a_service_is_ready_while_a_worker_is_heard_of_anywhere(api: TestClient) -> None:
    workers = api.app.state.context.workers  # type: ignore[attr-defined]
    assert ready(api) == (503, "workers: 0 of 0 here alive, 0 heard of")
    workers.announce(WorkerState("elsewhere-1"))
    assert ready(api) == (200, "workers: 0 of 0 here alive, 1 heard of")
    workers.leave("elsewhere-1")
    assert ready(api)[0] == 503


def test_a_service_without_its_arrays_is_not_ready(api: TestClient, tmp_path: Path) -> None:
    api.app.state.context.workers.announce(WorkerState("elsewhere-1"))  # type: ignore[attr-defined]
    assert ready(api)[0] == 200
    shutil.rmtree(tmp_path / "store" / "arrays")
    status, detail = ready(api)
    assert status == 503
    assert detail.startswith("store: its arrays are gone, since ")


def test_a_service_without_its_database_is_not_ready(api: TestClient) -> None:
    database = api.app.state.context.store.database  # type: ignore[attr-defined]
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE workers")
    status, detail = ready(api)
    assert status == 503
    assert detail.startswith("database: ")


def test_a_service_that_stops_is_not_ready(api: TestClient) -> None:
    context = api.app.state.context  # type: ignore[attr-defined]
    context.workers.announce(WorkerState("elsewhere-1"))
    context.shutdown.begin()
    assert ready(api) == (503, "stopping")
    assert api.get("/health/live").status_code == 200


def test_a_second_signal_does_not_lengthen_the_time_of_grace() -> None:
    shutdown = Shutdown(4.0)
    assert not shutdown.begun
    shutdown.begin()
    left = shutdown.left_s
    time.sleep(0.05)
    shutdown.begin()
    assert shutdown.begun
    assert shutdown.left_s < left <= 3.0
