"""POST /v1/bottlenecks: a fit from cached moments is a durable job, and what it gives is applied by name."""

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from covpool.service.errors import RequestError
from covpool.service.fitting.fits import Fits
from covpool.store import Store, load_pooling

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
    found = fitted(http, "fit.one")
    assert (found["state"], found["bottleneck"]["shape"]) == ("done", [5])
    assert found["bottleneck"]["fit"]["sequences"] == 12
    assert http.post("/v1/bottlenecks", json=asked).json() == found
    assert "fit.one" in [one["name"] for one in http.get("/v1/bottlenecks").json()["data"]]
    answer = http.post("/v1/embeddings", json={"job": job["id"], "bottleneck": "fit.one"})
    scores = np.array([one["embedding"] for one in answer.json()["data"]])
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
    found = fitted(http, "fit.three")
    assert found["state"] == "failed"
    assert "cannot fit k=50" in found["error"]
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


def test_a_fit_whose_runner_fell_silent_is_taken_over_until_it_was_tried_too_often() -> None:
    with Store.open("memory://") as store:
        fits = Fits(store.database, lease_s=0.0, max_attempts=2)
        fits.submit("f", {"k": 1})
        assert [one.name for one in (fits.claim("a"), fits.claim("b")) if one] == ["f", "f"]
        fits.finish("f", "a", b"late")
        assert fits.one("f").state == "running"
        assert fits.claim("c") is None
        assert fits.one("f").state == "failed"
        assert fits.submit("f", {"k": 2}).state == "queued"


def test_one_name_is_one_request() -> None:
    with Store.open("memory://") as store:
        fits = Fits(store.database)
        assert fits.submit("f", {"k": 1}) == fits.submit("f", {"k": 1})
        with pytest.raises(RequestError, match="choose another name"):
            fits.submit("f", {"k": 2})
