"""Query parameters that a route does not take are refused by name, on every route."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.in_process import fill, in_process

FILLED = {"assembly": "toy", "name": "x", "job": "0" * 64, "key": "0" * 64, "model": "m", "path": "zarr.json"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    directory = tmp_path_factory.mktemp("query")
    fill(directory, "a")
    with in_process(directory, max_wait_s=0.0) as client:
        yield client


def operations(api: TestClient) -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and query parameters of every documented route."""
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            known = [
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "query"
            ]
            yield method.upper(), path.format(**FILLED), known


def assert_refused(response: Any, *words: str) -> None:
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in response.json()["detail"], response.json()["detail"]


def test_every_route_refuses_a_parameter_that_it_does_not_take_and_names_those_it_does(
    api: TestClient,
) -> None:
    seen = list(operations(api))
    assert len(seen) > 20
    for method, path, known in seen:
        response = api.request(method, path, params={"limt": "5"})
        if method == "HEAD":
            assert response.status_code == 422
        else:
            assert_refused(response, "query.limt", ", ".join(sorted(known)) or "takes none")


def test_a_filter_that_is_misspelt_is_not_passed_over(api: TestClient) -> None:
    assert len(api.get("/v1/index", params={"layer": "none"}).json()["entries"]) == 0
    assert_refused(api.get("/v1/index?Layer=none"), "query.Layer")
    assert_refused(api.get("/v1/index?layers=none&page=2"), "query.layers", "query.page")
    assert_refused(api.get("/v1/index?layer=up.6&layer=stem"), "query.layer", "more than once")
    assert_refused(api.get("/v1/index", params={"x" * 5000: "1"}), "x" * 80)
    assert api.get("/v1/index?").status_code == 200


def test_a_file_of_the_zarr_hierarchy_is_found_without_parameters_only(api: TestClient) -> None:
    assert api.get("/zarr/zarr.json").status_code == 200
    assert_refused(api.get("/zarr/zarr.json?versionId=3"), "versionId")
