"""The OpenAPI document is true: what fits it, or misses it, is answered as it says and never with a 5xx.

But for the 503 of embeddings that are still being computed, which is no fault: nobody works here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from covpool.service.http.app import create_app
from covpool.service.settings import Settings
from covpool.store.testing import example_key, example_moments
from tests.service.in_process import SERVED

# Nobody works here, so nothing is worth waiting for.
APP = create_app(Settings(store="memory://", workers=0, ready_without_workers=True, max_wait_s=0), SERVED)

schema = schemathesis.openapi.from_asgi("/openapi.json", APP)

#: A schema cannot say what DNA or FASTA is: what is neither is refused although it fits.
INEXPRESSIBLE: list[schemathesis.CheckFunction] = [positive_data_acceptance]
#: What `answered_as_documented` looks after.
OURS: list[schemathesis.CheckFunction] = [not_a_server_error]

_QUICK = settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
_LONG = settings(_QUICK, max_examples=60)


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    with TestClient(APP):
        for name in "abc":
            APP.state.context.store.put(example_key(name), example_moments(name))
        yield


def answered_as_documented(case: "schemathesis.Case[Any]") -> None:
    response = case.call_and_validate(excluded_checks=[*INEXPRESSIBLE, *OURS])
    if response.status_code >= 500:
        assert response.status_code == 503, response.text
        assert response.json()["title"] == "Not ready yet", response.text
        assert int(response.headers["retry-after"][0]) > 0


@schema.parametrize()
@_QUICK
def test_every_route_answers_as_documented(case: "schemathesis.Case[Any]") -> None:
    answered_as_documented(case)


@pytest.mark.slow
@schema.parametrize()
@_LONG
def test_every_route_answers_as_documented_to_many_more(case: "schemathesis.Case[Any]") -> None:
    answered_as_documented(case)
