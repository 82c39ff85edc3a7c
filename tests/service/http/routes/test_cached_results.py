"""/v1/moments, /v1/index, /v1/models, /v1/bottlenecks and /health: what is cached and what is offered."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from covpool.extractor.models.models import describe
from covpool.store import Store
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import sha256
from tests.service.in_process import in_process
from tests.service.running import Running

SAFETENSORS = {"Accept": "application/x-safetensors"}


@pytest.fixture(scope="module")
def key(http: httpx.Client) -> str:
    response = http.post("/v1/embeddings", json={"input": "ACGTTGCAACGG" * 20})
    return str(response.json()["data"][0]["key"])


def test_npy_is_the_stored_matrix_bit_for_bit(http: httpx.Client, service: Running, key: str) -> None:
    response = http.get(f"/v1/moments/{key}")
    assert response.headers["content-type"] == "application/x-npy"
    array = np.load(io.BytesIO(response.content), allow_pickle=False)
    with Store.open(service.store) as store:
        assert array.tobytes() == store.get(key).second_moment.tobytes()
    assert array.dtype == np.float32
    assert np.array_equal(array, array.T)
    assert np.linalg.eigvalsh(array.astype(float))[0] > -1e-5 * np.trace(array)


def test_safetensors_holds_count_mean_and_matrix(http: httpx.Client, service: Running, key: str) -> None:
    response = http.get(f"/v1/moments/{key}", headers=SAFETENSORS)
    assert response.headers["content-type"] == "application/x-safetensors"
    tensors = load(response.content)
    with Store.open(service.store) as store:
        stored = store.get(key)
    assert set(tensors) == {"count", "mean", "second_moment"}
    assert tensors["count"].tolist() == [240] == [stored.count]
    assert tensors["mean"].tobytes() == stored.mean.tobytes()
    assert tensors["second_moment"].tobytes() == stored.second_moment.tobytes()


def test_head_answers_as_get_without_the_body(http: httpx.Client, key: str) -> None:
    get, head = http.get(f"/v1/moments/{key}"), http.head(f"/v1/moments/{key}")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "etag", "cache-control", "covpool-count"):
        assert head.headers[name] == get.headers[name]
    assert head.headers["covpool-count"] == "240"
    assert "immutable" in head.headers["cache-control"]


def test_a_client_that_has_it_is_not_sent_it_again(http: httpx.Client, key: str) -> None:
    path = f"/v1/moments/{key}"
    tag = http.head(path).headers["etag"]
    for condition in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        response = http.get(path, headers={"If-None-Match": condition})
        assert (response.status_code, response.content) == (304, b""), condition
        assert response.headers["etag"] == tag
    assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_each_form_has_its_own_tag_and_caches_are_told_what_it_depends_on(
    http: httpx.Client, key: str
) -> None:
    """A cache between us and the client must not give one form for the other."""
    path = f"/v1/moments/{key}"
    npy, safetensors = http.get(path), http.get(path, headers=SAFETENSORS)
    assert npy.headers["etag"] != safetensors.headers["etag"]
    assert npy.headers["vary"].lower() == safetensors.headers["vary"].lower() == "accept"
    both = SAFETENSORS | {"If-None-Match": npy.headers["etag"]}
    assert http.get(path, headers=both).status_code == 200


def test_what_is_in_memory_goes_with_its_row(tmp_path: Path) -> None:
    """No form of a key answers with bits that another form has no more."""
    with in_process(tmp_path) as http, Store.open(tmp_path) as store:
        first, second = example_moments("one", 8), example_moments("other", 8)
        key = example_key("k")
        path, tags = f"/v1/moments/{key.digest}", set()
        for moments in (first, second):
            store.put(key, moments, replace=True)
            for _ in range(2):
                npy, safetensors = http.get(path), http.get(path, headers=SAFETENSORS)
                assert np.array_equal(np.load(io.BytesIO(npy.content)), moments.second_moment)
                assert np.array_equal(load(safetensors.content)["second_moment"], moments.second_moment)
                for answer in (npy, safetensors):
                    assert answer.headers["etag"] == f'"{sha256(answer.content)}"'
                    tags.add(answer.headers["etag"])
        assert len(tags) == 4
        stale = http.get(path, headers={"If-None-Match": min(tags - {npy.headers["etag"]})})
        assert stale.status_code == 200


def test_the_index_comes_in_pages_that_together_hold_every_key_once(
    http: httpx.Client, service: Running
) -> None:
    http.post("/v1/embeddings", json={"input": ["A" * n for n in range(1, 8)]})
    found: list[dict[str, Any]] = []
    after = None
    while True:
        query = {"limit": 3} | ({"after": after} if after else {})
        page = http.get("/v1/index", params=query).json()
        assert len(page["entries"]) <= 3
        found += page["entries"]
        if (after := page["next"]) is None:
            break
    keys = [entry["key"] for entry in found]
    assert keys == sorted(set(keys))
    with Store.open(service.store) as store:
        assert set(keys) == set(map(str, store.keys()))


def test_the_index_tells_what_an_entry_is(http: httpx.Client, key: str) -> None:
    entries = {entry["key"]: entry for entry in http.get("/v1/index?limit=1000").json()["entries"]}
    one = entries[key]
    model = describe("ntv3-mini")
    assert (one["model"], one["layer"], one["strand"]) == ("ntv3-mini", model.default_layer, "+")
    assert (one["length"], one["count"], one["dtype"]) == (240, 240, "float32")
    assert one["width"] == model.layer().width


def test_the_index_is_filtered_by_model_and_layer(http: httpx.Client, key: str) -> None:
    http.post("/v1/jobs", json={"input": "ACGT", "layer": "stem"}, headers={"Prefer": "wait=30"})
    stem = http.get("/v1/index", params={"layer": "stem", "limit": 1000}).json()["entries"]
    assert {entry["layer"] for entry in stem} == {"stem"}
    assert http.get("/v1/index", params={"model": "other"}).json() == {
        "entries": [],
        "next": None,
        "stale": 0,
    }


def test_models_say_whether_they_are_trained_and_which_layers_they_have(http: httpx.Client) -> None:
    (listed,) = [model for model in http.get("/v1/models").json()["data"] if model["name"] == "ntv3-mini"]
    described = describe("ntv3-mini")
    assert listed["trained"] is described.trained
    assert listed["weights"] == described.weights
    assert listed["default_layer"] == described.default_layer
    assert [(layer["name"], layer["width"], layer["bases_per_token"]) for layer in listed["layers"]] == [
        (layer.name, layer.width, layer.bases_per_token) for layer in described.layers
    ]
    assert listed["licence"]


def test_the_default_bottleneck_of_a_model_is_listed(http: httpx.Client) -> None:
    (model,) = [model for model in http.get("/v1/models").json()["data"] if model["name"] == "ntv3-mini"]
    (listed,) = [
        bottleneck
        for bottleneck in http.get("/v1/bottlenecks").json()["data"]
        if bottleneck["name"] == model["default_bottleneck"]
    ]
    assert (listed["model"], listed["layer"], listed["k"]) == ("ntv3-mini", model["default_layer"], 16)
    assert listed["fit"]


def test_the_service_is_alive_and_ready(http: httpx.Client) -> None:
    assert http.get("/health/live").json()["status"] == "ok"
    ready = http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "detail": "workers: 1 of 1 here alive, 1 heard of"}


def test_the_service_describes_itself(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/embeddings", "/v1/jobs", "/v1/moments/{key}", "/v1/index", "/v1/models"} <= set(paths)


def test_a_damaged_matrix_is_a_problem_naming_its_key_and_never_served(
    http: httpx.Client, service: Running
) -> None:
    body = {"input": "GGATCCAAGCTT" * 3}
    key = http.post("/v1/embeddings", json=body).json()["data"][0]["key"]
    with Store.open(service.store) as store:
        entry = store.entry(key)
    row = service.store / "arrays" / entry.namespace.id / "second_moment" / f"c.{entry.row}.0.0"
    whole = row.read_bytes()
    row.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
    answer = http.get(f"/v1/moments/{key}")
    assert answer.status_code == 410
    assert answer.headers["content-type"] == "application/problem+json"
    assert key in answer.json()["detail"]
    assert http.post("/v1/embeddings", json=body).status_code == 200
    assert http.get(f"/v1/moments/{key}").status_code == 200
