"""/v1/models: every model, and each by its id, the slashes of a hub id included."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from covpool.service.http.app import create_app
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from tests.service.in_process import SERVED

HUB_ID = "InstaDeepAI/NTv3_8M_pre"


@pytest.fixture(scope="module")
def api() -> Iterator[TestClient]:
    (mini,) = SERVED.models.values()
    served = Served({one.name: one for one in (mini, replace(mini, name=HUB_ID))}, SERVED.bottlenecks)
    with TestClient(create_app(Settings(store="memory://", workers=0), served)) as client:
        yield client


@pytest.mark.parametrize(
    "path", [HUB_ID, HUB_ID.replace("/", "%2F"), HUB_ID.replace("/", "%2f"), "ntv3-mini"]
)
def test_a_model_is_found_by_its_id_as_the_list_tells_it(api: TestClient, path: str) -> None:
    response = api.get(f"/v1/models/{path}")
    assert response.status_code == 200
    assert response.json()["object"] == "model"
    assert response.json() in api.get("/v1/models").json()["data"]
    assert response.json()["owned_by"] == ("local" if path == "ntv3-mini" else "InstaDeepAI")


@pytest.mark.parametrize(
    "path", ["gpt", "InstaDeepAI", "NTv3_8M_pre", "a/b/c", "%2e%2e/ntv3-mini", "ntv3-mini/"]
)
def test_a_model_that_is_not_served_is_a_problem_that_names_the_others(api: TestClient, path: str) -> None:
    response = api.get(f"/v1/models/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert f"choose ntv3-mini, {HUB_ID}" in response.json()["detail"]


def test_the_list_is_found_with_a_slash_behind_it(api: TestClient) -> None:
    assert api.get("/v1/models/").json() == api.get("/v1/models").json()
