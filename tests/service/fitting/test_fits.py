"""POST /v1/bottlenecks: a fit from cached moments is a durable job, and what it gives is applied by name."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from covpool.service.errors import LeaseLostError, RequestError
from covpool.service.fitting.fits import Fits, keep_file
from covpool.service.queue import JobQueue, Request, TaskLeases
from covpool.service.queue.leases import finish_task
from covpool.store import Store, load_pooling
from covpool.store.testing import example_key

GENES = [("ACGT" * 9)[shift : shift + 20 + shift] + "GATTACA" * shift for shift in range(12)]


def fitted(http: httpx.Client, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        body: dict[str, Any] = http.get(f"/v1/bottlenecks/{name}").json()
        if body["state"] in ("done", "failed"):
            return body
        time.sleep(0.1)
    raise AssertionError(f"{name} did not end")


def test_a_fit_is_a_job_and_its_result_embeds_by_name(http: httpx.Client, tmp_path: Path) -> None:
    job = http.post("/v1/jobs", json={"input": GENES}, headers={"Prefer": "wait=60"}).json()
    asked = {"name": "fit.one", "method": "root-pca", "k": 5, "job": job["id"]}
    response = http.post("/v1/bottlenecks", json=asked)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == "/v1/bottlenecks/fit.one"
    fit = fitted(http, "fit.one")
    assert (fit["state"], fit["bottleneck"]["shape"]) == ("done", [5])
    assert fit["bottleneck"]["fit"]["sequences"] == 12
    assert http.post("/v1/bottlenecks", json=asked).json() == fit
    assert "fit.one" in [bottleneck["name"] for bottleneck in http.get("/v1/bottlenecks").json()["data"]]
    answer = http.post("/v1/embeddings", json={"job": job["id"], "pooling": "fit.one"})
    scores = np.array([embedding["embedding"] for embedding in answer.json()["data"]])
    assert scores.shape == (12, 5)
    # Principal scores of the very moments they were fitted on are centred.
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-3 * np.abs(scores).max())
    (tmp_path / "f.safetensors").write_bytes(http.get("/v1/bottlenecks/fit.one/file").content)
    assert load_pooling(tmp_path / "f.safetensors").name == "fit.one"


def test_a_fit_with_targets_trains_on_what_of_a_job_is_dna(http: httpx.Client) -> None:
    given = {"input": [*GENES, "MEEPQSDPSV"]}
    job = http.post("/v1/jobs", json=given, headers={"Prefer": "wait=60"}).json()
    targets = {record["name"]: [record["length"] / 10.0] for record in job["records"] if record["key"]}
    assert len(targets) == len(GENES)
    asked = {"name": "fit.two", "method": "ridge", "k": 1, "job": job["id"], "targets": targets}
    assert http.post("/v1/bottlenecks", json=asked).status_code == 202
    assert fitted(http, "fit.two")["state"] == "done"


def test_a_fit_that_cannot_be_ends_as_failed_with_the_reason(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json={"input": GENES[:3]}, headers={"Prefer": "wait=60"}).json()
    asked = {"name": "fit.three", "method": "root-pca", "k": 50, "job": job["id"]}
    assert http.post("/v1/bottlenecks", json=asked).status_code == 202
    fit = fitted(http, "fit.three")
    assert fit["state"] == "failed"
    assert "cannot fit k=50" in fit["error"]
    assert http.get("/v1/bottlenecks/fit.three/file").status_code == 404


def test_names_that_are_taken_and_requests_that_lack_something_are_refused(http: httpx.Client) -> None:
    default = http.get("/v1/models").json()["data"][0]["default_bottleneck"]
    refused = (
        ({"name": default}, 422), ({"name": "a+b"}, 422), ({"name": "mean"}, 409),
        ({"name": "x", "method": "ridge"}, 422), ({"name": "x", "job": "0" * 64}, 404),
        ({"name": "x", "model": "tea"}, 404), ({"name": "x", "tea": 1}, 422),
    )  # fmt: skip
    for body, status in refused:
        response = http.post("/v1/bottlenecks", json=body)
        assert response.status_code == status, (body, response.text)
    assert http.get("/v1/bottlenecks/tea").status_code == 404


REQUEST = {"name": "f", "recipe": example_key("a").recipe.to_json(), "k": 1}


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path, catalog=database_url) as opened:
        yield opened


def test_a_fit_is_leased_as_other_tasks_are_until_it_was_tried_too_often(store: Store) -> None:
    fits, leases = Fits(store.database), TaskLeases(store.database, lease_s=0.05, max_attempts=2)
    fits.submit("f", REQUEST)
    for worker, attempt in (("a", 1), ("b", 2)):
        (task,) = leases.claim_fit(worker)
        assert (task.request, task.attempts) == (REQUEST, attempt)
        assert leases.heartbeat(worker, {task.id: 0}) == set()
        assert fits.get("f").state == "running"
        assert leases.claim_fit("other") == []
        time.sleep(0.06)
        assert leases.sweep() == 1
    fit = fits.get("f")
    assert (fit.state, fit.error) == (
        "failed",
        "2 attempts, then set aside; the last error: its lease expired",
    )
    with pytest.raises(LeaseLostError), store.database.writing() as connection:
        finish_task(connection, task.id, "b")
    assert fits.submit("f", REQUEST | {"k": 2}).state == "queued"


def test_a_fit_is_done_in_the_transaction_that_keeps_its_file(store: Store) -> None:
    fits, leases = Fits(store.database), TaskLeases(store.database)
    fits.submit("f", REQUEST)
    (task,) = leases.claim_fit("w")
    with pytest.raises(ZeroDivisionError), store.database.writing() as connection:
        finish_task(connection, task.id, "w")
        keep_file(connection, "f", b"file")
        raise ZeroDivisionError
    assert (fits.get("f").state, fits.file("f")) == ("running", None)
    with store.database.writing() as connection:
        finish_task(connection, task.id, "w")
        keep_file(connection, "f", b"file")
    assert (fits.get("f").state, fits.file("f")) == ("done", b"file")
    assert fits.submit("f", REQUEST).state == "done"


def test_fits_and_extractions_are_claimed_apart(store: Store) -> None:
    fits, leases = Fits(store.database), TaskLeases(store.database)
    recipe = example_key("a").recipe
    requests = [Request.of_key(name, example_key(name), "ACGT", 4) for name in "ab"]
    JobQueue(store.database).submit(recipe, requests)
    fits.submit("f", REQUEST)
    (fit,) = leases.claim_fit("w")
    assert fit.request == REQUEST
    assert len(leases.claim("w", [recipe.weights], tokens=1000, count=100)) == 2
    assert not leases.claim_fit("w")
    assert not leases.claim("w")


def test_an_outage_costs_a_fit_no_attempt(store: Store) -> None:
    fits, leases = Fits(store.database), TaskLeases(store.database, max_attempts=1)
    fits.submit("f", REQUEST)
    for _ in range(3):
        (task,) = leases.claim_fit("w")
        leases.give_back("w", [task.id])
        assert (task.attempts, fits.get("f").state) == (1, "queued")


def test_one_name_is_one_request(store: Store) -> None:
    fits = Fits(store.database)
    assert fits.submit("f", REQUEST) == fits.submit("f", REQUEST)
    with pytest.raises(RequestError, match="choose another name"):
        fits.submit("f", REQUEST | {"k": 2})


def test_of_two_who_take_a_name_at_once_one_is_told_so(store: Store) -> None:
    fits = Fits(store.database)

    def take(k: int) -> str:
        try:
            return fits.submit("f", REQUEST | {"k": k}).state
        except RequestError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == ["queued", *["refused"] * 7]
