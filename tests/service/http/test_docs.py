"""The page of the API: whole from this service, with nothing of another host."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from covpool.service.http.routes.docs import ASSETS
from tests.service.database.test_tokens import make
from tests.service.in_process import in_process


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Where every other route needs a token."""
    directory = tmp_path_factory.mktemp("docs")
    make(directory, "alice", "read")
    with in_process(directory) as client:
        assert client.get("/v1/models").status_code == 401
        yield client


def test_the_page_is_made_of_files_that_the_service_has(api: TestClient) -> None:
    page = api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert {part.removeprefix("docs/") for part in parts} == {*ASSETS, "start.js"}
    for part in parts:
        response = api.get(f"/{part}")
        assert (response.status_code, len(response.content) > 50) == (200, True), part
    assert "SwaggerUIBundle" in api.get("/docs/swagger-ui-bundle.js").text[:2000]
    assert 'url: "openapi.json"' in api.get("/docs/start.js").text
    assert api.get("/openapi.json").status_code == 200


def test_no_page_refers_to_another_host_and_browsers_are_told_to_ask_none(api: TestClient) -> None:
    pages = [
        answer
        for path in ("/", "/docs", "/redoc", "/docs/start.js", "/v1/models", "/v1/nothing")
        for answer in [api.get(path)]
    ]
    assert any("html" in page.headers["content-type"] for page in pages)
    for page in pages:
        assert not re.search(r"(?:https?:)?//[a-z]", page.text), page.url
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert not re.search(r"\*|https?:|unsafe-eval", policy)


@pytest.mark.parametrize("name", ["core.py", "redoc.standalone.js", "../core.py", "%2e%2e%2fcore.py", "x"])
def test_other_files_of_that_package_are_not_sent(api: TestClient, name: str) -> None:
    assert api.get(f"/docs/{name}").status_code in (401, 404)
