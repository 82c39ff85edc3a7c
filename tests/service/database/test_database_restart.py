"""The database server is shut down under load and comes back: what was accepted is done."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from covpool.extractor import extract, load_adapter
from covpool.store import MomentsKey, Store, sequence_digest
from tests.postgres import PostgresServer, postgres_server
from tests.service.running import Running, running_service, wait_until

LAYER = "up.2"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of its own: the shared one must not go down under other tests."""
    with postgres_server() as found:
        yield found


def submit(service: Running, sequences: list[str]) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/jobs", json={"input": sequences, "layer": LAYER}, timeout=60)


def health(service: Running, which: str) -> int:
    return httpx.get(f"{service.url}/health/{which}", timeout=60).status_code


@pytest.mark.slow
def test_a_database_that_is_shut_down_and_started_again_costs_no_job(
    tmp_path: Path, server: PostgresServer
) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), size)) for size in (40_000, *[900] * 30, 60_000)]
    with server.database() as url, running_service(tmp_path, catalog=url, lease_s="2") as service:
        api, worker = service.process, service.workers()[0]
        accepted = submit(service, sequences)
        job = accepted.json()["id"]
        location = f"{service.url}/v1/jobs/{job}"
        wait_until(lambda: httpx.get(location).json()["state"] == "running", "the job to be under way")
        for _ in range(2):
            server.stop()
            refused = submit(service, ["ACGT" * 30])
            assert refused.status_code == 503, service.log.read_text()[-5000:]
            assert refused.headers["content-type"] == "application/problem+json"
            assert "database" in refused.json()["detail"]
            assert (health(service, "live"), health(service, "ready")) == (200, 503)
            server.start()
            wait_until(lambda: health(service, "ready") == 200, "the service to be ready again")
        wait_until(lambda: httpx.get(location).json()["state"] == "done", "the job to end")
        assert [record["state"] for record in httpx.get(location).json()["records"]] == ["done"] * len(
            sequences
        )
        # The same processes all along.
        assert (api.is_running(), worker.is_running()) == (True, True)
        assert submit(service, sequences).json()["id"] == job
        adapter = load_adapter("ntv3-mini")
        recipe = adapter.recipe(LAYER)
        with Store.open(tmp_path / "store", catalog=url) as store:
            assert store.verify() == []
            for bases in sequences[:3]:
                stored = store.get(MomentsKey(sequence_digest(bases), len(bases), recipe))
                expected = extract(adapter, bases, [LAYER])[LAYER]
                assert stored.count == expected.count
                error = np.linalg.norm(stored.second_moment - expected.second_moment)
                # Float32 forwards in other company round otherwise.
                assert error < 1e-4 * np.linalg.norm(expected.second_moment)
