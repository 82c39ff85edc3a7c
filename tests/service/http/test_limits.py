"""Limits: what is too large, too many or too often is refused with a status, and the service goes on."""

import gzip
import io
import logging
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from covpool.service.http.middleware.rates import Rates
from tests.service.in_process import in_process

JOBS = "/v1/jobs"


def assert_problem(response: Any, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    for word in words:
        assert word in problem["detail"], problem["detail"]


def upload(api: TestClient, content: bytes) -> Any:
    return api.post(JOBS, files={"fasta": ("genes.fa", content)})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with limits that are easily reached."""
    limits = {"max_body": 20_000, "max_records": 5, "max_sequence": 100, "max_bases": 300}
    with in_process(tmp_path_factory.mktemp("small"), **limits) as client:
        yield client


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_declared_or_not(small: TestClient) -> None:
    assert_problem(small.post(JOBS, content=b" " * 20_001), 413, "20,000 bytes")

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    assert_problem(small.post(JOBS, content=pieces(), headers=headers), 413, "20,000 bytes")
    assert small.post(JOBS, json={"input": "ACGT"}).status_code == 202


def test_records_sequence_length_and_bases_are_limited(small: TestClient) -> None:
    assert_problem(small.post(JOBS, json={"input": ["ACGT"] * 6}), 422, "more than 5 records")
    assert_problem(upload(small, b"".join(b">%d\nACGT\n" % n for n in range(6))), 422, "more than 5 records")
    assert_problem(small.post(JOBS, json={"input": "A" * 101}), 422, "101 bases", "up to 100")
    assert_problem(small.post(JOBS, json={"input": ["A" * 80] * 4}), 422, "320 bases", "takes 300")


def test_a_file_that_unpacks_to_far_more_than_it_is_stops_early(small: TestClient) -> None:
    bomb = gzip.compress(b">a\n" + b"A" * 15_000_000)
    assert len(bomb) < 20_000
    tracemalloc.start()
    assert_problem(upload(small, bomb), 422, "more than 300 bases")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000, "it was unpacked as a whole"


def test_a_compressed_body_is_refused(small: TestClient) -> None:
    body = gzip.compress(b'{"input": "ACGT"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert_problem(small.post(JOBS, content=body, headers=headers), 415, "Content-Encoding")


def test_a_full_queue_is_refused_with_a_time_to_come_again(tmp_path: Path) -> None:
    with in_process(tmp_path, max_queued=2) as api:
        assert api.post(JOBS, json={"input": ["ACGT", "ACGA"]}).status_code == 202
        refused = api.post(JOBS, json={"input": "ACGG"})
        assert_problem(refused, 429, "2 sequences wait")
        assert int(refused.headers["retry-after"]) > 0
        assert api.post("/v1/embeddings", json={"input": "ACGG"}).status_code == 429
        assert len(api.get(JOBS).json()["data"]) == 1


def test_too_many_requests_of_one_caller_are_refused_until_time_has_passed(tmp_path: Path) -> None:
    with in_process(tmp_path, rate_per_minute=5) as api:
        answers = [api.get("/v1/index") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert_problem(answers[-1], 429, "come again")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
        assert api.get("/health/live").status_code == 200, "health is never limited"


def test_rates_refill_evenly_and_callers_do_not_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("covpool.service.http.middleware.rates.time.monotonic", lambda: clock[0])
    rates = Rates(60)
    assert [rates.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert rates.wait_s("a") == pytest.approx(1.0)
    assert rates.wait_s("b") == 0.0
    clock[0] = 0.5
    assert rates.wait_s("a") == pytest.approx(0.5)
    clock[0] = 1.0
    assert rates.wait_s("a") == 0.0
    assert rates.wait_s("a") > 0
    assert [Rates(0).wait_s("a") for _ in range(1000)] == [0.0] * 1000


def test_every_answer_has_a_request_id_that_the_caller_may_choose(small: TestClient) -> None:
    ids = {small.get("/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert small.get("/v1/models", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for strange in ("a b", "x" * 65, "<script>", "a\\nb", ""):
        assert small.get("/v1/models", headers={"X-Request-Id": strange}).headers["x-request-id"] != strange


def test_every_answer_has_the_security_headers(small: TestClient) -> None:
    for response in (
        small.get("/v1/models"),
        small.get("/v1/nothing"),
        small.post(JOBS, content=b" " * 30_000),
        small.get("/health/live"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


def test_pages_of_other_origins_may_not_ask_unless_they_are_named(small: TestClient, tmp_path: Path) -> None:
    origin = {"Origin": "https://lab.example"}
    asked = origin | {"Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in small.get("/v1/models", headers=origin).headers
    assert small.options(JOBS, headers=asked).status_code == 405
    with in_process(tmp_path, cors_origins=["https://lab.example"]) as api:
        allowed = api.options(JOBS, headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://lab.example"
        other = api.get("/v1/models", headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_bug_is_a_problem_whose_id_finds_its_trace_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with in_process(tmp_path) as api:
        monkeypatch.setattr(type(api.app.state.context.store.catalog), "entries", broken)  # type: ignore[attr-defined]
        with caplog.at_level(logging.ERROR):
            response = api.get("/v1/index")
    assert_problem(response, 500, "log")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert any(record.exc_info for record in caplog.records)


def test_sequences_are_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "GATTACAGATTACACATTAG"
    with in_process(tmp_path) as api, caplog.at_level(logging.DEBUG):
        for body in (
            {"input": secret},
            {"input": [secret, secret + "!"]},
            {"input": {"bases": secret}},
            {"input": f">a\n{secret}\n>a\n{secret}\n"},
            {"job": secret},
        ):
            for route in (JOBS, "/v1/embeddings"):
                api.post(route, json=body, headers={"Prefer": "wait=0"})
        upload(api, f">a\n{secret}\n".encode())
        # A database that refuses must not tell the values it was given.
        with api.app.state.context.store.database.writing() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("DROP TABLE tasks")
        failed = api.post(JOBS, json={"input": secret[::-1]})
        assert failed.status_code in (500, 503)
    ours = io.StringIO()
    for record in caplog.records:
        ours.write(logging.Formatter().format(record))
    for text in (ours.getvalue(), failed.text):
        assert secret not in text
        assert secret[::-1] not in text
    assert ours.getvalue()
