"""A service for reading only: what is cached is served, nothing is written, and others are refused."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from covpool.clients import Client
from covpool.clients.cli import covpool
from covpool.service.errors import SettingsError
from covpool.service.http.app import create_app
from covpool.service.settings import Settings
from covpool.store import Store
from tests.postgres import PostgresServer
from tests.service.in_process import SERVED, fill, in_process
from tests.service.running import environment, running_service
from tests.store.mounts import read_only_view
from tests.store.storage.test_read_only import GOLDEN, tree

THRA = "ATGCGAGTGTTGAAGTTCGGCGGTACATCAGTGGCAAATGCAGAACGTTTTCTGCGTGTTGCC"


@contextmanager
def reading(directory: Path, **settings: object) -> Iterator[TestClient]:
    chosen = Settings(store=str(directory), read_only=True, **settings)  # type: ignore[arg-type]
    with TestClient(create_app(chosen, SERVED), base_url="http://127.0.0.1") as client:
        yield client


WRITES = [
    ("POST", "/v1/jobs", {"input": THRA}),
    ("POST", "/v1/embeddings", {"input": THRA}),
    ("POST", "/v1/bottlenecks", {"name": "mine", "method": "root-pca", "k": 4, "layer": "up.6"}),
]


def assert_serves_and_refuses(client: TestClient | httpx.Client, keys: list[str]) -> None:
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["detail"]) == (200, "read-only: serves what is cached")
    assert {entry["key"] for entry in client.get("/v1/index").json()["entries"]} == set(keys)
    for key in keys:
        assert client.get(f"/v1/moments/{key}").status_code == 200
    assert client.get("/zarr/zarr.json").status_code == 200
    for listing in ("jobs", "genomes", "models", "bottlenecks"):
        assert client.get(f"/v1/{listing}").status_code == 200
    assert client.get("/v1/jobs/nothing").status_code == 404
    assert client.get("/metrics").status_code == 200
    for method, path, body in WRITES:
        refused = client.request(method, path, json=body)
        assert refused.status_code == 403, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["title"] == "Service is read-only"


def test_what_is_cached_is_served_and_what_would_write_is_refused(tmp_path: Path) -> None:
    keys = fill(tmp_path / "store", "a", "b")
    before = tree(tmp_path / "store")
    with reading(tmp_path / "store") as client:
        assert_serves_and_refuses(client, keys)
        told = client.post("/v1/embeddings", json={"input": THRA}).json()["detail"]
        assert told.startswith("1 of 1 sequences are not cached")
    assert tree(tmp_path / "store") == before


def test_embeddings_and_jobs_of_a_running_service_are_served_from_a_read_only_mount(tmp_path: Path) -> None:
    """Beside the writing service, and after it has ended."""
    with running_service(tmp_path) as writing, Client(writing.url) as client:
        expected = client.embed(THRA)
        (job,) = [job["id"] for job in httpx.get(f"{writing.url}/v1/jobs").json()["data"]]
        with read_only_view(tmp_path / "store", tmp_path / "beside") as view, reading(view) as reader:
            assert reader.get(f"/v1/jobs/{job}").json()["state"] == "done"
            assert_same(reader, expected)
            assert reader.delete(f"/v1/jobs/{job}").status_code == 403
    before = tree(tmp_path / "store")
    with read_only_view(tmp_path / "store", tmp_path / "view") as view:
        refused = CliRunner().invoke(covpool, ["serve", "--store", str(view)], env=environment())
        assert "--read-only" in str(refused.exception)
        with running_service(tmp_path, store=str(view), read_only="true") as running:
            with httpx.Client(base_url=running.url) as http:
                assert_same(http, expected)
                assert http.get(f"/v1/jobs/{job}").json()["state"] == "done"
                assert http.post("/v1/jobs", json={"input": THRA + "ACGT"}).status_code == 403
            assert running.workers() == []
    assert tree(tmp_path / "store") == before


def assert_same(client: TestClient | httpx.Client, expected: object) -> None:
    answer = client.post("/v1/embeddings", json={"input": THRA})
    assert answer.status_code == 200, answer.text
    embedding = answer.json()["data"][0]["embedding"]
    assert embedding == pytest.approx(expected[0].ravel().tolist())  # type: ignore[index]


def test_genes_of_a_registered_assembly_are_listed(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{THRA}\n")
    (tmp_path / "g.gff3").write_text("##gff-version 3\nc\tx\tgene\t1\t30\t.\t+\t.\tID=thrA\n")
    added = CliRunner().invoke(
        covpool,
        [
            *("genome", "add", "R", "--fasta", str(tmp_path / "g.fa")),
            *("--annotation", str(tmp_path / "g.gff3"), "--store", str(tmp_path / "store")),
        ],
        env=environment(),
    )
    assert added.exit_code == 0, added.output
    before = tree(tmp_path / "store")
    with reading(tmp_path / "store") as client:
        assert [gene["id"] for gene in client.get("/v1/genomes/R/genes").json()["data"]] == ["thrA"]
        asked = client.post("/v1/genomes", json={"assembly": "R"})
        assert (asked.status_code, asked.json()["title"]) == (403, "Service is read-only")
    listed = CliRunner().invoke(
        covpool, ["genome", "list", "--json", "--store", str(tmp_path / "store")], env=environment()
    )
    assert json.loads(listed.output)["name"] == "R"
    assert tree(tmp_path / "store") == before


def test_tokens_are_asked_for(tmp_path: Path) -> None:
    keys = fill(tmp_path / "store", "a")
    made = CliRunner().invoke(
        covpool, ["token", "create", "ann", "--scope", "read", "--store", str(tmp_path / "store")]
    )
    token = made.output.split()[-1]
    with reading(tmp_path / "store") as client:
        assert client.get(f"/v1/moments/{keys[0]}").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get(f"/v1/moments/{keys[0]}", headers=headers).status_code == 200


def test_a_store_of_covpool_0_1_is_served(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    before = tree(tmp_path / "store")
    with Store.open(tmp_path / "store", read_only=True) as store:
        keys = [key.digest for key in store.keys()]  # noqa: SIM118
    with reading(tmp_path / "store") as client:
        assert_serves_and_refuses(client, keys)
    assert tree(tmp_path / "store") == before


def test_a_postgres_catalog_without_tables_of_the_service_is_served(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    with Store.open(tmp_path / "store", catalog=postgres_url) as store:
        assert len(store) == 0
    with reading(tmp_path / "store", catalog=postgres_url) as client:
        assert_serves_and_refuses(client, [])


def test_workers_are_not_asked_for_where_nothing_is_written(tmp_path: Path) -> None:
    assert Settings.read(read_only=True).workers == 0
    with pytest.raises(SettingsError, match="read_only goes with no workers"):
        Settings.read(read_only=True, workers=2)
    fill(tmp_path, "a")
    refused = CliRunner().invoke(covpool, ["worker"], env=environment(store=str(tmp_path), read_only="true"))
    assert "COVPOOL_READ_ONLY" in str(refused.exception)


def test_a_service_that_writes_answers_as_before(tmp_path: Path) -> None:
    with in_process(tmp_path) as client:
        assert client.post("/v1/jobs", json={"input": THRA}).status_code == 202
