"""/v1/jobs/{id}/events and DELETE: a job told of as it goes on, to its end; and ended early."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from covpool.clients import Client
from tests.service.running import Running

LONG = "ACGTTGCAGGATTCAC" * 1_500


def events(http: httpx.Client, job: str, **headers: str) -> Iterator[dict[str, Any]]:
    """Events of a stream as a browser reads them."""
    with http.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        event: dict[str, Any] = {}
        for line in response.iter_lines():
            if not line:
                if event:
                    yield event
                event = {}
            elif not line.startswith(":"):
                field, _, value = line.partition(": ")
                event[field] = json.loads(value) if field == "data" else value


def test_a_job_is_told_of_from_its_beginning_to_its_end(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json={"input": [LONG, LONG + "A"]}).json()["id"]
    received = list(events(http, job))
    assert [event["event"] for event in received] == ["progress"] * (len(received) - 1) + ["end"]
    assert len({event["id"] for event in received}) == len(received) > 1
    done = [event["data"]["tokens_done"] for event in received]
    assert done == sorted(done)
    last = received[-1]["data"]
    assert (last["job"], last["state"], last["records_done"], last["records"]) == (job, "done", 2, 2)
    assert last["tokens"] == last["tokens_done"] == 2 * len(LONG) + 1


def test_a_client_that_comes_back_is_not_told_again_what_it_knows(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json={"input": LONG + "CC"}).json()["id"]
    first = next(events(http, job))
    seen = [first["id"]] + [event["id"] for event in events(http, job, **{"Last-Event-ID": first["id"]})]
    assert len(set(seen)) == len(seen)
    (end,) = events(http, job, **{"Last-Event-ID": seen[-1]})
    assert (end["event"], end["id"]) == ("end", seen[-1])


def test_a_job_that_has_ended_is_told_of_in_one_event(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json={"input": "ACGT"}, headers={"Prefer": "wait=30"}).json()["id"]
    (end,) = events(http, job)
    assert end["event"] == "end"


def test_an_unknown_job_has_no_stream(http: httpx.Client) -> None:
    for job in ("0" * 64, "x"):
        response = http.get(f"/v1/jobs/{job}/events")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


def test_listeners_that_leave_are_forgotten(service: Running, http: httpx.Client) -> None:
    """Each listener asks the database; one that has gone must not go on asking."""
    before = service.process.num_threads()
    job = http.post("/v1/jobs", json={"input": [LONG + "G" * n for n in range(3)]}).json()["id"]
    connections = len(service.process.net_connections())
    for _ in range(5):
        with httpx.Client(base_url=service.url) as leaving:
            next(events(leaving, job))
    deadline = time.monotonic() + 10
    while len(service.process.net_connections()) > connections and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(service.process.net_connections()) <= connections
    assert service.process.num_threads() <= before + 40
    assert list(events(http, job))[-1]["event"] == "end"


def test_a_cancelled_job_ends_and_says_so_to_who_listens(http: httpx.Client, client: Client) -> None:
    job = http.post("/v1/jobs", json={"input": [LONG + "T" * n for n in range(8)]}).json()["id"]
    heard: list[dict[str, Any]] = []
    listening = threading.Thread(target=lambda: heard.extend(events(http, job)))
    listening.start()
    response = http.delete(f"/v1/jobs/{job}")
    assert response.status_code == 200
    listening.join(timeout=60)
    assert heard[-1]["event"] == "end"
    assert heard[-1]["data"]["state"] == "cancelled"
    assert client.cancel(job).state == "cancelled", "cancelling again changes nothing"
    with pytest.raises(httpx.HTTPStatusError):
        http.delete(f"/v1/jobs/{'0' * 64}").raise_for_status()
