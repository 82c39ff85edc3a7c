"""POST /v1/embeddings: what is answered is Lᵀ C R of the served matrix, computed once."""

import base64
import io
import time
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from covpool.extractor.models.models import describe
from covpool.store import Bottleneck
from tests.service.running import Running


def post(http: httpx.Client, body: dict[str, Any], **headers: str) -> httpx.Response:
    return http.post("/v1/embeddings", json=body, headers=headers)


def embed(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    response = post(http, body)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def matrix(one: dict[str, Any]) -> NDArray[np.float64]:
    return np.array(one["embedding"]).reshape(one["shape"])


def fetch(http: httpx.Client, key: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(io.BytesIO(http.get(f"/v1/moments/{key}").content))
    return array


def test_a_string_a_list_and_fasta_text_give_the_same_embedding(http: httpx.Client) -> None:
    bases = "ATGACCATGATTACGGATTCACTGGCC"
    (one,) = embed(http, input=bases)
    two = embed(http, input=["TTTT", bases.lower()])
    (fasta,) = embed(http, input=f">lacZ start of a gene\r\n{bases[:10]}\r\n{bases[10:]}\r\n")
    assert one["shape"] == [16, 16]
    assert one["embedding"] == two[1]["embedding"] == fasta["embedding"]
    assert one["key"] == two[1]["key"] == fasta["key"]
    assert [one["name"], two[0]["name"], two[1]["name"], fasta["name"]] == [
        "sequence 1",
        "sequence 1",
        "sequence 2",
        "lacZ",
    ]
    assert [entry["index"] for entry in two] == [0, 1]


def test_base64_is_the_float_answer_in_little_endian_float32(http: httpx.Client) -> None:
    (floats,) = embed(http, input="ACGTTGCA" * 5)
    (packed,) = embed(http, input="ACGTTGCA" * 5, encoding_format="base64")
    decoded = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
    assert np.array_equal(decoded, np.array(floats["embedding"], "<f4"))


def test_the_embedding_is_l_transposed_c_r_of_the_fetched_matrix(http: httpx.Client) -> None:
    (one,) = embed(http, input="GATTACA" * 40)
    response = post(http, {"input": "GATTACA" * 40}).json()
    fitted = {
        found.name: found
        for found in map(Bottleneck.load, describe("ntv3-mini").checkpoint.directory.glob("bottleneck*"))
    }[response["bottleneck"]]
    c = fetch(http, one["key"])
    by_hand = fitted.left.T.astype(float) @ c.astype(float) @ fitted.right.astype(float)
    assert np.abs(matrix(one) - by_hand).max() <= 1e-6 * np.abs(by_hand).max()


def test_the_same_request_is_not_extracted_again(http: httpx.Client, service: Running) -> None:
    bases = "ACGGGTTTCA" * 30
    (first,) = embed(http, input=bases)
    trace = "SELECT t.created, t.attempts, t.state, e.created, e.row FROM tasks t JOIN entries e USING (key)"
    before = service.rows(f"{trace} WHERE key = ?", first["key"])
    assert len(before) == 1
    assert before[0][1:3] == (1, "done")
    began = time.monotonic()
    (second,) = embed(http, input=bases)
    assert time.monotonic() - began < 1.0
    assert second == first
    assert service.rows(f"{trace} WHERE key = ?", first["key"]) == before


def test_a_sequence_asked_for_twice_in_one_request_is_one_task(http: httpx.Client, service: Running) -> None:
    one, two, other = embed(http, input=["CCCGGGTTTA", "CCCGGGTTTA", "CCCGGGTTTC"])
    assert one["key"] == two["key"] != other["key"]
    assert one["embedding"] == two["embedding"]
    assert service.rows("SELECT count(*) FROM tasks WHERE key = ?", one["key"]) == [(1,)]


def test_strand_layer_and_skipped_tokens_are_other_keys(http: httpx.Client) -> None:
    bases = "ACGTTTGCAAC" * 3
    keys = {
        str(record["key"])
        for options in ({}, {"strand": "-"}, {"strand": "both"}, {"skip_tokens": 1}, {"layer": "stem"})
        for record in http.post("/v1/jobs", json={"input": bases, **options}).json()["records"]
    }
    assert len(keys) == 5


def test_the_reverse_strand_is_the_embedding_of_the_reverse_complement(http: httpx.Client) -> None:
    bases = "AACGTTTGCAACCC" * 3
    complement = bases.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    (reverse,) = embed(http, input=bases, strand="-")
    (forward,) = embed(http, input=complement)
    assert reverse["key"] != forward["key"]
    # Batch mates change the rounding of a float32 forward; small entries are differences of large numbers.
    scale = np.abs(matrix(forward)).max()
    np.testing.assert_allclose(matrix(reverse), matrix(forward), rtol=1e-5, atol=1e-6 * scale)
    (both,) = embed(http, input=bases, strand="both")
    (plus,) = embed(http, input=bases)
    np.testing.assert_allclose(matrix(both), (matrix(plus) + matrix(forward)) / 2, rtol=1e-4, atol=1e-5)


def test_without_waiting_the_answer_is_a_job_to_follow(http: httpx.Client) -> None:
    body = {"input": "TTGACA" * 500}
    response = post(http, body, Prefer="wait=0")
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert response.headers["retry-after"] == "1"
    assert job["state"] in ("queued", "running")
    while http.get(response.headers["location"]).json()["state"] != "done":
        time.sleep(0.05)
    assert post(http, body, Prefer="wait=0").status_code == 200
    by_job = post(http, {"job": job["id"]}).json()
    assert by_job["data"] == post(http, body).json()["data"]


def test_what_was_changed_in_the_input_is_told_for_each_spelling(http: httpx.Client) -> None:
    """The same bases, so the same key and job of records; but each request hears of its own changes."""
    plain = post(http, {"input": "ACGTTACGNA"}).json()
    spelt = post(http, {"input": "ACGUUACGRA"}).json()
    assert plain["data"] == spelt["data"]
    assert not any("sequence 1" in notice for notice in plain["notices"])
    assert [notice for notice in spelt["notices"] if "sequence 1" in notice] == [
        "sequence 1: 2 U read as T",
        "sequence 1: 1 ambiguity codes read as N (R x 1)",
    ]


def test_an_untrained_model_says_so_in_every_answer(http: httpx.Client) -> None:
    (model,) = [model for model in http.get("/v1/models").json()["data"] if model["name"] == "ntv3-mini"]
    notices = post(http, {"input": "ACGTACGT"}).json()["notices"]
    assert any("untrained" in notice for notice in notices) is not model["trained"]


def test_usage_counts_the_bases(http: httpx.Client) -> None:
    assert post(http, {"input": ["ACGT", "ACGTAC"]}).json()["usage"] == {
        "prompt_tokens": 10,
        "total_tokens": 10,
    }


def test_the_request_of_an_openai_client_is_understood(http: httpx.Client) -> None:
    response = post(
        http, {"input": ["ACGT"], "model": "ntv3-mini", "encoding_format": "base64", "user": "someone"}
    )
    assert response.status_code == 200
    assert response.json()["object"] == "list"
    assert response.json()["data"][0]["object"] == "embedding"


@pytest.mark.parametrize("body", [{}, {"input": "ACGT", "job": "x"}], ids=["neither", "both"])
def test_either_sequences_or_a_job_are_needed(http: httpx.Client, body: dict[str, Any]) -> None:
    response = post(http, body)
    assert response.status_code == 422
    assert ("give one of 'input'" if not body else "leave one of them out") in response.json()["detail"]


def test_the_bottleneck_serves_requests_beyond_the_documented_context_too(http: httpx.Client) -> None:
    plain, beyond = (
        http.post("/v1/embeddings", json={"input": "ACGTTGCA" * 9, "beyond_context": flag}).json()["data"][0]
        for flag in (False, True)
    )
    assert plain["key"] != beyond["key"]
    assert plain["embedding"] == beyond["embedding"]


def test_plain_kinds_are_served_by_name_and_join_with_the_bottleneck(http: httpx.Client) -> None:
    bases = "GATTACA" * 30
    (default,) = embed(http, input=bases)
    name = post(http, {"input": bases}).json()["bottleneck"]
    (mean,) = embed(http, input=bases, pooling="mean")
    (both,) = embed(http, input=bases, pooling=f"mean+covariance+{name}")
    assert mean["shape"] == [64]
    assert both["shape"] == [64 + 64 * 65 // 2 + 16 * 16]
    assert both["embedding"][:64] == mean["embedding"]
    assert both["embedding"][-256:] == default["embedding"]


def test_the_two_fields_of_0_1_are_understood_and_the_answer_says_what_to_write(http: httpx.Client) -> None:
    body = {"input": "GATTACA" * 30}
    for old, new in (
        ({"bottleneck": "root"}, {"pooling": "root"}),
        ({"pooling": "bottleneck", "bottleneck": "mean+std"}, {"pooling": "mean+std"}),
    ):
        before, now = post(http, body | old), post(http, body | new)
        assert before.json()["data"] == now.json()["data"]
        assert (before.json()["pooling"], before.json()["bottleneck"]) == ("bottleneck", new["pooling"])
        assert (now.json()["pooling"], now.json()["bottleneck"]) == (new["pooling"], "")
        assert before.headers["deprecation"].startswith("@")
        assert "'bottleneck' is deprecated: give the name as 'pooling'" in before.json()["notices"]
        assert "deprecation" not in now.headers
        assert now.json()["notices"] == post(http, body).json()["notices"]
    (half,) = embed(http, **body, bottleneck="second_moment")
    assert half["shape"] == [64 * 65 // 2]
    job = http.post("/v1/jobs", json=body | {"bottleneck": "root"})
    assert job.headers["deprecation"].startswith("@")
    assert any("deprecated" in notice for notice in job.json()["notices"])
    assert http.post("/v1/jobs", json=body).json()["id"] == job.json()["id"]


def test_pooling_gives_the_mean_and_the_second_moment_as_they_are_cached(http: httpx.Client) -> None:
    body = {"input": "GATTACAGGT" * 4, "encoding_format": "base64"}
    answers = {kind: post(http, body | {"pooling": kind}).json() for kind in ("mean", "second_moment")}
    key = answers["mean"]["data"][0]["key"]
    tensors = load(http.get(f"/v1/moments/{key}", headers={"Accept": "application/x-safetensors"}).content)
    for kind, answer in answers.items():
        (one,) = answer["data"]
        assert (answer["pooling"], answer["bottleneck"]) == (kind, "")
        assert tuple(one["shape"]) == tensors[kind].shape
        assert base64.b64decode(one["embedding"]) == tensors[kind].tobytes()
    refused = post(http, body | {"pooling": "mean", "bottleneck": "std"})
    assert refused.status_code == 422
    assert "takes no bottleneck" in refused.json()["detail"]


def test_more_numbers_than_one_answer_takes_are_refused_with_other_ways(http: httpx.Client) -> None:
    body = {"input": ["ACGTACGTAC"] * 80, "pooling": "second_moment"}
    refused = post(http, body)
    assert refused.status_code == 422
    assert "base64" in refused.json()["detail"]
    assert "/v1/moments" in refused.json()["detail"]
    assert post(http, body | {"encoding_format": "base64"}).status_code == 200


def test_a_fasta_file_is_embedded_as_its_text_is(http: httpx.Client) -> None:
    text = ">a\nACGTTGCA\n>b\nGGGTTTAC\n"
    upload = http.post(
        "/v1/embeddings", files={"fasta": ("g.fa", text.encode())}, data={"encoding_format": "base64"}
    )
    assert upload.status_code == 200, upload.text
    assert upload.json() == post(http, {"input": text, "encoding_format": "base64"}).json()


def test_what_is_cached_is_embedded_without_a_job(http: httpx.Client) -> None:
    body = {"input": [f"{'ACGGT' * 8}{tail}" for tail in ("A", "C")]}
    post(http, {"input": body["input"][0]})
    post(http, {"input": body["input"][1]})
    newest = http.get("/v1/jobs", params={"limit": 1}).json()["data"][0]["id"]
    assert post(http, body, Prefer="wait=0").status_code == 200
    assert http.get("/v1/jobs", params={"limit": 1}).json()["data"][0]["id"] == newest


def test_records_without_a_result_are_left_out_when_asked_and_the_others_keep_their_places(
    http: httpx.Client,
) -> None:
    sequences = ["ATGACCATGATT", "AC-GT", "GGCTAAGG", "MKLPEFIQ", "TTGACATA"]
    refused = post(http, {"input": sequences})
    assert refused.status_code == 422
    assert "sequence 2" in refused.json()["detail"]
    good = embed(http, input=[sequences[at] for at in (0, 2, 4)])
    job = http.post("/v1/jobs", json={"input": sequences}, headers={"Prefer": "wait=30"}).json()["id"]
    named = post(http, {"job": job})
    assert named.status_code == 422
    assert "2 of 5 records are not there, first sequence 2" in named.json()["detail"]
    # The first time a job makes the others, later they are cached.
    for body in ({"input": sequences}, {"input": sequences}, {"job": job}):
        embeddings = embed(http, **body, skip_failed=True)
        assert [one["index"] for one in embeddings] == [0, 2, 4]
        assert [one["name"] for one in embeddings] == ["sequence 1", "sequence 3", "sequence 5"]
        assert [one["embedding"] for one in embeddings] == [embedding["embedding"] for embedding in good]
    nothing = post(http, {"input": ["AC-GT"], "skip_failed": True})
    assert nothing.status_code == 422
