"""A damaged matrix is never sent, is told of, and is computed again by the request that met it."""

import json
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest

from covpool.clients import Client
from covpool.service.queue import JobQueue, Request, TaskLeases
from covpool.service.queue.jobs import lose
from covpool.store import Store
from covpool.store.maintenance.healing import heal
from covpool.store.maintenance.verify import check
from covpool.store.testing import example_key, example_moments
from tests.service.running import COVPOOL, Running, environment

RECORDS = ">one\nACGTTGACCAGTTGACATGCA\n>two\nTTGACAACGGTTACGGATTACA\n"


@pytest.fixture
def own(service: Running) -> Running:
    """The shared service: only what these tests cached is damaged."""
    return service


def damage(own: Running, key: str, array: str = "second_moment") -> None:
    """Flip a bit of the row that is read under a key."""
    with Store.open(own.store) as store:
        entry = store.entry(key)
        names = {"second_moment": "c.{}.0.0", "mean": "c.{}.0", "record": "c.{}.0"}
        path = own.store / "arrays" / entry.namespace.id / array / names[array].format(entry.row)
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 4
    path.write_bytes(held)


def assert_whole(own: Running, keys: list[str]) -> None:
    with Store.open(own.store) as store:
        assert [problem for key in keys if (problem := check(store, store.entry(key), repair=False))] == []


def embedded(http: httpx.Client, text: str = RECORDS) -> list[dict[str, object]]:
    answer = http.post("/v1/embeddings", json={"input": text})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


@pytest.mark.parametrize("array", ["second_moment", "mean", "record"])
def test_the_request_that_meets_damage_computes_the_matrix_again(
    own: Running, http: httpx.Client, array: str
) -> None:
    before = embedded(http)
    for one in before:
        damage(own, str(one["key"]), array)
    after = embedded(http)
    assert [embedding["key"] for embedding in after] == [embedding["key"] for embedding in before]
    for old, new in zip(before, after, strict=True):
        assert new["embedding"] == pytest.approx(old["embedding"], rel=1e-4, abs=1e-5)
        assert (
            http.get(f"/v1/moments/{new['key']}", headers={"Accept": "application/x-npy"}).status_code == 200
        )
    assert_whole(own, [str(embedding["key"]) for embedding in after])


def test_a_damaged_key_is_gone_until_its_sequence_comes_again(own: Running, http: httpx.Client) -> None:
    text = ">lone\nACGGGTTTACCAGATTACATTGACA\n"
    job = http.post("/v1/jobs", json={"input": text}, headers={"Prefer": "wait=30"}).json()
    key = job["records"][0]["key"]
    damage(own, key)
    answer = http.get(f"/v1/moments/{key}")
    assert answer.status_code == 410
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["title"] == "Cached matrix was damaged"
    assert "/v1/embeddings" in answer.json()["detail"]
    assert http.get(f"/v1/moments/{key}").status_code == 404
    # No job says done any longer, however it is asked.
    for query in ("", "?records=false"):
        assert http.get(f"/v1/jobs/{job['id']}{query}").json()["state"] == "failed"
    assert "submit the sequence again" in http.get(f"/v1/jobs/{job['id']}").json()["records"][0]["error"]
    assert 'covpool_damaged_matrices_total{outcome="lost"}' in http.get("/metrics").text
    again = http.post("/v1/jobs", json={"input": text}, headers={"Prefer": "wait=30"})
    assert again.json()["id"] == job["id"]
    assert again.json()["state"] == "done"
    assert http.get(f"/v1/moments/{key}").status_code == 200


def test_a_jobs_embeddings_that_were_lost_say_what_to_do(own: Running, http: httpx.Client) -> None:
    text = ">jobs\nGGGTTTACCAGATTACATTGACAAA\n"
    job = http.post("/v1/jobs", json={"input": text}, headers={"Prefer": "wait=30"}).json()
    damage(own, job["records"][0]["key"])
    answer = http.post("/v1/embeddings", json={"job": job["id"]})
    assert answer.status_code == 410
    assert "submit the job's sequences again" in answer.json()["detail"]


def test_a_stream_of_matrices_says_which_is_lost_and_goes_on(own: Running, http: httpx.Client) -> None:
    keys = [str(embedding["key"]) for embedding in embedded(http)]
    damage(own, keys[0])
    with Client(own.url) as client, pytest.raises(Exception, match="retired"):
        list(client.moments(keys))
    with Store.open(own.store) as store:
        assert keys[0] not in store
        assert keys[1] in store


def test_the_client_and_the_commands_get_their_embeddings_in_spite_of_damage(
    own: Running, tmp_path: Path
) -> None:
    fasta = tmp_path / "genes.fa"
    fasta.write_text(RECORDS)
    with Client(own.url) as client:
        before = client.embed(fasta)
        keys = [record.key for record in client.submit(fasta).records]
        damage(own, keys[0])
        assert client.embed(fasta) == pytest.approx(before, rel=1e-4, abs=1e-5)
    damage(own, keys[1])
    ran = subprocess.run(
        [COVPOOL, "embed", str(fasta), "--url", own.url, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "damaged" in ran.stderr
    assert [json.loads(line)["key"] for line in ran.stdout.splitlines()] == keys
    # The same without the service: what does not read back counts as missing.
    damage(own, keys[0])
    ran = subprocess.run(
        [COVPOOL, "extract", str(fasta), "--store", str(own.store), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert ran.returncode == 0, ran.stderr
    assert {(line["name"], line["cached"]) for line in map(json.loads, ran.stdout.splitlines())} == {
        ("one", False),
        ("two", True),
    }
    assert keys[0] in ran.stderr
    assert_whole(own, keys)


def test_a_job_whose_matrix_was_cached_before_it_says_that_it_is_lost(tmp_path: Path) -> None:
    key = example_key("a")
    with Store.open(tmp_path) as store:
        queue, leases = JobQueue(store.database), TaskLeases(store.database)
        store.put(key, example_moments("a", 8))
        job = queue.submit(key.recipe, [Request.of_key("a", key, "ACGT", 4)])
        assert (queue.job(job).state, queue.progress(job).state) == ("done", "done")
        next((tmp_path / "arrays").glob("*/mean/c.0.0")).unlink()
        heal(store, key.digest, on_commit=partial(lose, key=key, error="lost; submit it again"))
        assert (queue.job(job).state, queue.progress(job).state) == ("failed", "failed")
        assert queue.job(job).records[0].error == "lost; submit it again"
        # Put by another command, it is done again, however it is asked.
        store.put(key, example_moments("a", 8))
        assert (queue.job(job).state, queue.progress(job).state) == ("done", "done")
        # Submitted again, it is queued.
        next((tmp_path / "arrays").glob("*/mean/c.1.0")).unlink()
        heal(store, key.digest, on_commit=partial(lose, key=key, error="lost; submit it again"))
        assert queue.submit(key.recipe, [Request.of_key("a", key, "ACGT", 4)]) == job
        assert [task.id for task in leases.claim("w")] == [key.digest]
