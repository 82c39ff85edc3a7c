"""Waiting for a result: who cannot follow a job is told when to come again; who can gets the job."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

from covpool.clients import Client
from covpool.service.http.responses.waiting import MOST_RETRY_AFTER_S, UNKNOWN_RETRY_AFTER_S
from covpool.service.queue import Progress, WorkerState
from tests.service.in_process import in_process
from tests.service.running import running_service, wait_until

EMBED, JOBS = "/v1/embeddings", "/v1/jobs"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service at which nobody works, so that nothing is ever ready."""
    with in_process(tmp_path_factory.mktemp("waiting"), max_wait_s=0.0) as client:
        yield client


def ask(api: TestClient, route: str = EMBED, prefer: str | None = None, **body: Any) -> Any:
    return api.post(route, json=body or {"input": "ACGTTGCA"}, headers={"Prefer": prefer} if prefer else {})


def test_a_client_without_preferences_is_told_when_to_send_the_same_request_again(api: TestClient) -> None:
    answers = [ask(api) for _ in range(3)]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == str(UNKNOWN_RETRY_AFTER_S)
        assert answer.headers["retry-after-ms"] == str(1000 * UNKNOWN_RETRY_AFTER_S)
        for words in ("0 of 1 sequences", "the same request again in 15 s", "respond-async", "no worker"):
            assert words in answer.json()["detail"]
    assert len({answer.headers["location"] for answer in answers}) == 1, "trying again made another job"
    job = api.get(answers[0].headers["location"]).json()
    assert [record["name"] for record in job["records"]] == ["sequence 1"]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", "respond-async"),
        ("wait=0", "wait=0"),
        ("wait=20", "wait=0"),
        ('Wait = "0"', "wait=0"),
        ("respond-async, wait=10", "respond-async, wait=0"),
        ("wait=0;strict, handling=lenient", "wait=0"),
    ],
)
def test_a_client_that_prefers_a_job_gets_one_and_hears_what_was_honoured(
    api: TestClient, prefer: str, applied: str
) -> None:
    for route in (EMBED, JOBS):
        answer = ask(api, route, prefer)
        assert answer.status_code == 202
        assert answer.headers["preference-applied"] == applied
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "wait", "return=minimal", "", "wait=١"])
def test_what_is_no_preference_of_ours_is_passed_over(api: TestClient, prefer: str) -> None:
    headers = {"Prefer": prefer.encode()}
    answer = api.post(EMBED, json={"input": "ACGTTGCA"}, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 503
    assert "preference-applied" not in answer.headers


def test_who_names_a_job_is_answered_with_it(api: TestClient) -> None:
    job = ask(api, JOBS).json()["id"]
    answer = ask(api, job=job)
    assert (answer.status_code, answer.json()["id"]) == (202, job)


def test_what_waited_and_became_ready_says_that_it_waited(http: Any) -> None:
    answer = http.post(EMBED, json={"input": "ACGTTGCATTAC"}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")


@pytest.mark.parametrize(("tokens_per_s", "expected"), [(1e9, 2), (100.0, 13), (10.0, MOST_RETRY_AFTER_S)])
def test_the_time_to_come_again_follows_the_work_that_is_left_and_is_bounded(
    tmp_path: Path, tokens_per_s: float, expected: int
) -> None:
    with in_process(tmp_path, max_wait_s=0.0) as api:
        workers = api.app.state.context.workers  # type: ignore[attr-defined]
        worker = WorkerState("one", batches=1, batch_tasks=1, batch_tokens=int(1e9))
        workers.announce(replace(worker, batch_s=1e9 / tokens_per_s))
        answer = ask(api, input="ACGTA" * 200)
    assert int(answer.headers["retry-after"]) == expected
    assert "no worker" not in answer.json()["detail"]


def test_progress_of_nothing_left_knows_no_time() -> None:
    assert Progress({"done": 1}, 10, 10, 0).eta_s(5.0) is None


def test_an_openai_client_finds_a_slow_result_by_its_own_retries(tmp_path: Path) -> None:
    sequences = ["GATTACAT" * 2500 + "C" * n for n in range(4)]
    with (
        running_service(tmp_path, max_wait_s="0.05") as slow,
        Client(slow.url) as ours,
        openai.OpenAI(base_url=f"{slow.url}/v1", api_key="x") as official,
    ):
        for number in (1, 2):
            # From the second batch on it is known how fast the worker is.
            ours.wait(ours.submit("ACGTTGCA" * 2500 + "A" * number))
            done = [(number,)]
            wait_until(lambda done=done: slow.rows("SELECT batches FROM workers") == done, "its rate")  # type: ignore[misc]
        began = time.monotonic()
        response = official.embeddings.create(model="ntv3-mini", input=sequences)
        assert time.monotonic() - began > 1, "it was not slow"
        assert slow.rows("SELECT count(*) FROM jobs") == [(3,)], "trying again made other jobs"
        expected = ours.embed(sequences)
    assert np.array_equal(np.array([one.embedding for one in response.data], np.float32), expected)
