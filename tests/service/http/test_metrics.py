"""/metrics: what requests, caches, queue and workers do, under templates of routes and never their values."""

import json
import logging
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from covpool.extractor import Sequence
from covpool.service import logs
from covpool.service.database.tokens import Tokens
from covpool.service.queue import Request, TaskLeases, WorkerState
from covpool.service.settings import Settings
from covpool.store import MomentsKey
from covpool.store.testing import example_key, example_moments
from tests.service.in_process import SERVED, fill, in_process

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def values(api: TestClient | httpx.Client, **options: dict[str, str]) -> Values:
    """Every sample by name and labels, as Prometheus's own parser reads them."""
    answer = api.get("/metrics", **options)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_requests_are_counted_by_template_and_status(tmp_path: Path) -> None:
    (key,) = fill(tmp_path, "a")
    with in_process(tmp_path) as api:
        for path in (f"/v1/moments/{key}", f"/v1/moments/{key}", "/v1/moments/ACGTACGT", "/no/such/ACGTACGT"):
            api.get(path)
        api.request("BREW", "/no/such/ACGTACGT")
        metrics = values(api)
    counted = {
        (labels["method"], labels["route"], labels["status"]): number
        for (name, held), number in metrics.items()
        if name == "covpool_http_request_seconds_count" and (labels := dict(held))
    }
    assert counted["GET", "/v1/moments/{key}", "200"] == 2
    assert counted["GET", "/v1/moments/{key}", "404"] == 1
    assert counted["GET", "(none)", "404"] == counted["other", "(none)", "404"] == 1
    assert not any("ACGT" in word for labels in counted for word in labels)
    # The scrape itself is under way.
    assert value(metrics, "covpool_http_requests_in_flight") == 1


def test_hits_and_misses_of_both_caches_are_counted(tmp_path: Path) -> None:
    (key,) = fill(tmp_path, "a")
    with in_process(tmp_path) as api:
        for _ in range(3):
            api.get(f"/v1/moments/{key}")
        api.post("/v1/jobs", json={"input": ["ACGTACGT", "ACGTTTTT"]})
        gene = Sequence("gene", "ACGTACGTACGT")
        held = MomentsKey(gene.digest, len(gene), SERVED.model("ntv3-mini").recipe())
        api.app.state.context.store.put(held, example_moments("gene", 64))  # type: ignore[attr-defined]
        assert api.post("/v1/embeddings", json={"input": gene.bases}).status_code == 200
        metrics = values(api)
    hits = {"cache": "bodies", "outcome": "hit"}
    assert value(metrics, "covpool_cache_requests_total", **hits) == 2
    assert value(metrics, "covpool_cache_requests_total", **hits | {"outcome": "miss"}) == 1
    assert value(metrics, "covpool_cache_requests_total", cache="moments", outcome="miss") == 2
    assert value(metrics, "covpool_cache_requests_total", cache="moments", outcome="hit") == 1


def test_queue_and_workers_on_any_host_are_told_of(tmp_path: Path) -> None:
    with in_process(tmp_path) as api:
        context = api.app.state.context  # type: ignore[attr-defined]
        requests = [Request.of_key(name, example_key(name), "ACGT", 8) for name in "abc"]
        context.queue.submit(example_key("a").recipe, requests)
        assert len(TaskLeases(context.store.database).claim("gpu-host-1")) == 1
        context.workers.announce(WorkerState("gpu-host-1", "cuda:0", 30, 80, 5, 700, 2, 3.5, 4, 600, 2.0))
        time.sleep(0.05)
        metrics = values(api)
    assert value(metrics, "covpool_database_up") == 1
    assert value(metrics, "covpool_queue_tasks", state="queued") == 2
    assert value(metrics, "covpool_queue_tasks", state="running") == 1
    assert value(metrics, "covpool_queue_tasks", state="quarantined") == 0
    assert value(metrics, "covpool_queue_tokens") == 16
    assert 0.05 <= value(metrics, "covpool_queue_oldest_seconds", state="queued") < 60
    assert value(metrics, "covpool_workers") == 1
    worker = {"worker": "gpu-host-1", "device": "cuda:0"}
    for name, expected in {
        "tasks_total": 5,
        "tokens_total": 700,
        "batches_total": 2,
        "busy_seconds_total": 3.5,
        "batch_tasks": 4,
        "batch_tokens": 600,
        "tokens_per_second": 300,
        "device_memory_used_bytes": 30,
        "device_memory_bytes": 80,
    }.items():
        assert value(metrics, f"covpool_worker_{name}", **worker) == expected


def test_without_its_database_a_service_still_tells_of_itself(tmp_path: Path) -> None:
    with in_process(tmp_path) as api:
        with api.app.state.context.store.database.writing() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("DROP TABLE tasks")
        metrics = values(api)
    assert value(metrics, "covpool_database_up") == 0
    assert ("covpool_http_requests_in_flight", frozenset()) in metrics


def test_metrics_need_a_token_where_there_are_tokens(tmp_path: Path) -> None:
    with in_process(tmp_path) as api:
        made = Tokens(api.app.state.context.store.database).create("prometheus", ["read"])  # type: ignore[attr-defined]
        time.sleep(2.1)
        assert api.get("/metrics").status_code == 401
        assert values(api, headers={"Authorization": f"Bearer {made}"})


def test_a_real_workers_numbers_arrive(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": "ACGTTGCA" * 40}, headers={"Prefer": "wait=60"})
    assert answer.status_code == 200
    deadline = time.monotonic() + 30
    while True:
        totals = {name: number for (name, _), number in values(http).items()}
        if totals.get("covpool_worker_tokens_total", 0) >= 320:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (
        totals["covpool_worker_device_memory_bytes"] > totals["covpool_worker_device_memory_used_bytes"] > 0
    )
    assert totals["covpool_worker_batch_tasks"] >= 1
    assert totals["covpool_worker_tokens_per_second"] > 0
    assert totals["covpool_queue_tasks"] >= 0


def test_json_logs_hold_the_request_and_never_a_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        logs.configure(Settings(log_format="json", log_level="debug"))
        with in_process(tmp_path) as api:
            api.get("/v1/jobs/" + "ACGT" * 20, headers={"X-Request-Id": "mine"})
            api.get("/health/live")
        coloured = {"color_message": "Started"}
        logging.getLogger("some.library").error("cannot read %s", "ACGT" * 20, extra=coloured)
    finally:
        logging.getLogger().handlers[:], logging.getLogger().level = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "mine" and "route" in line]
    assert (line["level"], line["method"], line["route"], line["status"]) == (
        "INFO",
        "GET",
        "/v1/jobs/{job}",
        404,
    )
    assert line["ms"] > 0
    assert line["time"].endswith("+00:00")
    assert [line["level"] for line in lines if line.get("route") == "/health/live"] == ["DEBUG"]
    assert lines[-1]["message"] == "cannot read <80 bases>"
    assert "color_message" not in lines[-1]
    assert not any("ACGTACGT" in str(line) for line in lines)
