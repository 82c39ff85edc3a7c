"""/v1/jobs: submit, follow, and the same request is the same job."""

import gzip
import time
from pathlib import Path
from typing import Any

import httpx

from tests.service.running import Running


def ended(http: httpx.Client, job: str) -> dict[str, Any]:
    while (body := http.get(f"/v1/jobs/{job}").json())["state"] not in ("done", "failed"):
        time.sleep(0.05)
    return dict(body)


def test_an_uploaded_gzip_fasta_is_extracted(http: httpx.Client, genes: Path) -> None:
    records = genes.read_text().split(">")[1:4]
    upload = gzip.compress(("\r\n>".join(["", *records])).encode())
    # No other test skips three tokens, so nothing of this is cached whatever ran before.
    options = {"model": "ntv3-mini", "skip_tokens": "3"}
    response = http.post("/v1/jobs", files={"fasta": ("genes.fa.gz", upload)}, data=options)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    names = [record.split()[0] for record in records]
    lengths = [sum(map(len, record.splitlines()[1:])) for record in records]
    assert [record["name"] for record in job["records"]] == names
    stored = ended(http, job["id"])
    assert stored["state"] == "done"
    assert [record["length"] for record in stored["records"]] == lengths
    assert stored["tokens"] == stored["tokens_done"] == sum(lengths)
    for record in stored["records"]:
        counted = http.head(f"/v1/moments/{record['key']}").headers["covpool-count"]
        assert int(counted) == record["length"] - 3


def test_the_same_request_is_the_same_job_however_it_is_sent(http: httpx.Client) -> None:
    text = ">x\nACGTTGACC\n>y\nTTGACA\n"
    first = http.post("/v1/jobs", json={"input": text}).json()
    ended(http, first["id"])
    again = http.post("/v1/jobs", json={"input": text})
    upload = http.post("/v1/jobs", files={"fasta": ("other name.fa", text.lower().encode())})
    assert again.status_code == upload.status_code == 200
    assert again.json() == upload.json() == http.get(f"/v1/jobs/{first['id']}").json()
    assert again.json()["id"] == first["id"]


def test_other_names_are_another_job_over_the_same_keys(http: httpx.Client, service: Running) -> None:
    first = http.post("/v1/jobs", json={"input": ">x\nACCCGGGT\n"}).json()
    ended(http, first["id"])
    other = http.post("/v1/jobs", json={"input": ">renamed\nACCCGGGT\n"})
    assert other.status_code == 200
    assert other.json()["id"] != first["id"]
    key = first["records"][0]["key"]
    assert other.json()["records"][0]["key"] == key
    assert service.rows("SELECT attempts FROM tasks WHERE key = ?", key) == [(1,)]


def test_a_submission_waits_as_long_as_it_prefers(http: httpx.Client) -> None:
    response = http.post("/v1/jobs", json={"input": "GGGTTTCCC"}, headers={"Prefer": "wait=30"})
    assert response.status_code == 200
    assert response.json()["state"] == "done"


def test_both_strands_count_twice(http: httpx.Client) -> None:
    headers = {"Prefer": "wait=30"}
    job = http.post("/v1/jobs", json={"input": "GATTACAA", "strand": "both"}, headers=headers).json()
    assert job["tokens"] == job["tokens_done"] == 16
    assert http.head(f"/v1/moments/{job['records'][0]['key']}").headers["covpool-count"] == "16"


def test_the_latest_job_comes_first(http: httpx.Client) -> None:
    ids = [http.post("/v1/jobs", json={"input": "ACGT" * n}).json()["id"] for n in (3, 5)]
    listed = [job["id"] for job in http.get("/v1/jobs").json()["data"]]
    assert listed.index(ids[1]) < listed.index(ids[0])
    assert len(http.get("/v1/jobs", params={"limit": 1}).json()["data"]) == 1


def test_bases_do_not_outlive_their_task(http: httpx.Client, service: Running) -> None:
    job = http.post("/v1/jobs", json={"input": "CATCATCAT"}, headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "done"
    key = job["records"][0]["key"]
    assert service.rows("SELECT state, bases, worker FROM tasks WHERE key = ?", key) == [("done", None, None)]
