"""Every refusal is a problem document (RFC 9457) with a status, a title and what to do."""

import gzip
from typing import Any

import httpx
import pytest

EMBED, JOBS = "/v1/embeddings", "/v1/jobs"
UNKNOWN = "0" * 64


def assert_problem(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["instance"] == response.request.url.path
    for word in words:
        assert word in problem["detail"], problem["detail"]


@pytest.mark.parametrize("route", [EMBED, JOBS])
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": "ACGT", "model": "gpt"}, 404, ["'gpt'", "choose ntv3-mini"]),
        ({"input": "ACGT", "model": "/etc"}, 404, ["'/etc'", "not served"]),
        ({"input": "ACGT", "model": "../ntv3-mini"}, 404, ["not served"]),
        ({"input": "ACGT", "layer": "up.99"}, 404, ["'up.99'", "up.6"]),
        ({"input": ["MKLPEFIQ"]}, 422, ["sequence 1", "position 3", "protein"]),
        ({"input": ">a\nMKLPEFIQ\n>b\nMKVLEF\n"}, 422, ["record 1", "a", "protein"]),
        ({"input": "ACGT\x00ACGT"}, 422, ["sequence 1", "position 5", "binary"]),
        ({"input": "ACG-T"}, 422, ["position 4", "gaps"]),
        ({"input": ""}, 422, ["sequence 1", "empty"]),
        ({"input": " \n\t"}, 422, ["empty"]),
        ({"input": []}, 422, ["list is empty"]),
        ({"input": ["", ""]}, 422, ["sequence 1", "empty"]),
        ({"input": ">a\n"}, 422, ["a", "empty"]),
        ({"input": ">a\nACGT\n>b\nAC\n>a\nGG\n"}, 422, ["record 3 (a)", "twice", "rename"]),
        ({"input": "ACGT", "skip_tokens": 4}, 422, ["skip_tokens=4", "skip fewer"]),
        ({"input": "ACGT", "skip_tokens": -1}, 422, ["skip_tokens"]),
        ({"input": "ACGT", "strnad": "-"}, 422, ["strnad"]),
        ({"input": "ACGT", "strand": "*"}, 422, ["strand"]),
        ({"input": 7}, 422, ["input"]),
        ({"input": ["ACGT", None]}, 422, ["input"]),
        ([], 422, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_cannot_be_served_says_why(
    http: httpx.Client, route: str, body: Any, status: int, words: list[str]
) -> None:
    assert_problem(http.post(route, json=body), status, *words)


@pytest.mark.parametrize(
    ("input", "words"),
    [
        (["ACGT", "MKLPEFIQ"], ["sequence 2", "position 3", "protein"]),
        (">a\nACGT\n>b\nMKVLEF\n", ["record 2", "b", "protein"]),
        (["ACGT", ""], ["sequence 2", "empty"]),
    ],
    ids=str,
)
def test_a_bad_record_fails_alone_in_a_job_and_is_refused_where_every_embedding_is_needed(
    http: httpx.Client, input: Any, words: list[str]
) -> None:
    assert_problem(http.post(EMBED, json={"input": input}), 422, *words)
    job = http.post(JOBS, json={"input": input}, headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "failed"
    good, bad = job["records"]
    assert (good["state"], bad["state"], bad["key"]) == ("done", "failed", "")
    for word in words:
        assert word in bad["error"]
    assert http.head(f"/v1/moments/{good['key']}").status_code == 200


@pytest.mark.parametrize("route", [EMBED, JOBS])
@pytest.mark.parametrize("body", [b"{", b"", b'{"input": "ACGT"', b"\xff\xfe", b"null"], ids=repr)
def test_what_is_not_json_is_refused(http: httpx.Client, route: str, body: bytes) -> None:
    response = http.post(route, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert_problem(response, response.status_code)


@pytest.mark.parametrize("route", [EMBED, JOBS])
def test_another_content_type_is_refused(http: httpx.Client, route: str) -> None:
    response = http.post(route, content=b">a\nACGT\n", headers={"Content-Type": "text/plain"})
    assert_problem(response, 415, "application/json")


def test_the_rejected_sequence_is_not_repeated_in_the_answer(http: httpx.Client) -> None:
    secret = "GATTACAGATTACA"
    assert secret not in http.post(EMBED, json={"input": {"bases": secret}}).text
    assert secret not in http.post(JOBS, json={"input": {"bases": secret}}).text


@pytest.mark.parametrize("route", [EMBED, JOBS])
@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"bottleneck": "tea"}, 422, ["there is no pooling 'tea'", "ntv3-mini.up.6.k16", "covariance"]),
        ({"bottleneck": "mean+tea"}, 422, ["'tea'", "ntv3-mini.up.6.k16"]),
        ({"bottleneck": "tea", "layer": "stem"}, 422, ["'tea'", "only the plain kinds covariance", "stem"]),
        (
            {"bottleneck": "ntv3-mini.up.6.k16", "layer": "stem"},
            409,
            ["layer", "only the plain kinds covariance"],
        ),
        ({"pooling": "bottleneck", "layer": "stem"}, 422, ["no bottleneck fits", "stem", "fit a bottleneck"]),
        ({"pooling": "mean", "bottleneck": "std"}, 422, ["takes no bottleneck"]),
        ({"pooling": "median"}, 422, ["there is no pooling 'median'", "ntv3-mini.up.6.k16"]),
        ({"pooling": "mean+tea"}, 422, ["there is no pooling 'tea'"]),
        ({"pooling": "ntv3-mini.up.6.k16", "layer": "stem"}, 409, ["layer", "only the plain kinds"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_a_bottleneck_that_cannot_be_applied_is_refused_before_anything_is_computed(
    http: httpx.Client, route: str, options: dict[str, str], status: int, words: list[str], form: bool
) -> None:
    bases = "ACGTAACCGGTT" + "ACGT"[len(route) % 4] + "ACGT"[len(str(options)) % 4]
    before = http.get("/v1/jobs", params={"limit": 100}).json()["data"]
    if form:
        fasta = {"fasta": ("g.fa", f">a\n{bases}\n".encode())}
        response = http.post(route, files=fasta, data=options)
    else:
        response = http.post(route, json={"input": bases} | options)
    assert_problem(response, status, *words)
    assert [job["id"] for job in http.get("/v1/jobs", params={"limit": 100}).json()["data"]] == [
        job["id"] for job in before
    ]


def test_a_job_is_the_same_whatever_it_is_going_to_be_embedded_with(http: httpx.Client) -> None:
    body = {"input": "ACGTAACCGGTTTGA"}
    jobs = {
        http.post(JOBS, json=body | options).json()["id"]
        for options in ({}, {"bottleneck": "std"}, {"pooling": "mean"}, {"pooling": "bottleneck"})
    }
    assert len(jobs) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_key_is_not_found(http: httpx.Client, method: str) -> None:
    response = http.request(method, f"/v1/moments/{UNKNOWN}")
    assert response.status_code == 404
    if method == "GET":
        assert_problem(response, 404, UNKNOWN, "extract it first", "/v1/jobs", "/v1/index")


@pytest.mark.parametrize("key", ["lacZ", UNKNOWN[:-1], "G" * 64, "A" * 64, "%2e%2e%2fcatalog.sqlite", "é"])
def test_what_is_no_key_is_not_found(http: httpx.Client, key: str) -> None:
    response = http.get(f"/v1/moments/{key}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_an_unknown_job_is_not_found(http: httpx.Client) -> None:
    assert_problem(http.get(f"/v1/jobs/{UNKNOWN}"), 404, UNKNOWN, "submit it again")
    assert_problem(http.post(EMBED, json={"job": UNKNOWN}), 404, UNKNOWN)


def test_an_unknown_path_and_a_wrong_method_are_problems_too(http: httpx.Client) -> None:
    assert_problem(http.get("/v1/nothing"), 404)
    response = http.delete(EMBED)
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("query", ["limit=0", "limit=9999", "limit=x"])
def test_a_wrong_page_size_is_refused(http: httpx.Client, query: str) -> None:
    assert_problem(http.get(f"/v1/index?{query}"), 422, "limit")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no FASTA record"]),
        (b"ACGT\n", ["line 1", "not FASTA"]),
        (b">a\nACGT\n>a\nACGT\n", ["twice"]),
        (b">a\nMKLPEF\n>b\nMKLPEF\n", ["record 1", "protein"]),
        (b">a\nAC\xffGT\n", ["not text"]),
        (gzip.compress(b">a\n" + b"ACGT" * 1000)[:-12], ["truncated"]),
        (gzip.compress(b">a\nACGT\n")[:-1], ["truncated"]),
        (b"PK\x03\x04 a zip file", ["not FASTA"]),
    ],
    ids=["empty", "no header", "twice", "protein", "latin", "cut gzip", "one byte short", "zip"],
)
def test_a_damaged_upload_is_refused(http: httpx.Client, content: bytes, words: list[str]) -> None:
    assert_problem(http.post(JOBS, files={"fasta": ("genes.fa", content)}), 422, *words)


def test_an_upload_without_a_file_or_with_a_misspelt_field_is_refused(http: httpx.Client) -> None:
    assert_problem(http.post(JOBS, files={"fata": ("genes.fa", b">a\nACGT\n")}), 422, "fata")
    assert_problem(http.post(JOBS, files={"model": (None, "ntv3-mini")}), 422, "fasta", "no file")
    fasta = {"fasta": ("genes.fa", b">a\nACGT\n")}
    assert_problem(http.post(JOBS, files=fasta, data={"strnad": "-"}), 422, "strnad")
    assert_problem(http.post(JOBS, files=fasta, data={"strand": "sideways"}), 422, "strand")


def test_a_gzip_bomb_is_refused_without_being_unpacked(http: httpx.Client) -> None:
    bomb = gzip.compress(b">a\n" + b"A" * 120_000_000, compresslevel=1)
    assert len(bomb) < 1_000_000
    assert_problem(http.post(JOBS, files={"fasta": ("bomb.fa.gz", bomb)}), 422, "50,000,000")


def test_the_service_is_well_after_all_this(http: httpx.Client) -> None:
    assert http.get("/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", b'{"job": "\\ud800"}', (404, 422)),
        ("/v1/embeddings", b'{"input": ">\\ud800\\nACGT\\n"}', (422,)),
        ("/v1/jobs", b'{"input": ">\\ud800\\nACGT\\n"}', (422,)),
    ],
)
def test_text_that_no_encoding_takes_is_a_problem_and_no_bug(
    http: httpx.Client, path: str, body: bytes, status: tuple[int, ...]
) -> None:
    response = http.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code in status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_an_upload_in_another_compression_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/jobs", files={"fasta": ("x.zst", b"\x28\xb5\x2f\xfd" + b"0" * 20)})
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nothing"), ("POST", "/"), ("GET", "/v1/jobs/a/b/c")]
)
def test_a_path_that_is_not_there_says_where_to_look(http: httpx.Client, method: str, path: str) -> None:
    assert_problem(http.request(method, path), 404, "nothing at this path", "/docs")


def test_a_method_that_a_path_does_not_take_names_those_it_does(http: httpx.Client) -> None:
    assert_problem(http.put(JOBS, json={"input": "ACGT"}), 405, "takes GET, POST", "PUT")


@pytest.mark.parametrize("route", [EMBED, JOBS])
def test_a_field_that_there_is_not_is_named_with_those_there_are(http: httpx.Client, route: str) -> None:
    fasta = {"fasta": ("genes.fa", b">a\nACGT\n")}
    for response in (
        http.post(route, json={"input": "ACGT", "strnad": "-"}),
        http.post(route, files=fasta, data={"strnad": "-"}),
    ):
        assert_problem(response, 422, "strnad: is no field here", "strand", "skip_tokens", "bottleneck")
    response = http.post("/v1/bottlenecks", json={"name": "x", "methd": "glram"})
    assert_problem(response, 422, "methd: is no field here", "method")


def test_curl_s_usual_mistakes_are_answered_with_what_it_takes(http: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert_problem(
        http.post(JOBS, content=b'{"input": "ACGT"}', headers=form), 415, "Content-Type: application/json"
    )
    # The file's text in a field of the form, in place of the file.
    short, long = ({"fasta": (None, ">a\n" + "ACGT" * n)} for n in (1, 5000))
    assert_problem(http.post(JOBS, files=short), 422, "fasta: no file was sent", "-F fasta=@genes.fa")
    assert_problem(http.post(JOBS, files=long), 400, "the form cannot be read", "-F fasta=@genes.fa")


def test_features_that_there_are_not_are_refused_before_the_fit(http: httpx.Client) -> None:
    asked = {"name": "x.y", "method": "root-pca", "features": "tea"}
    assert_problem(http.post("/v1/bottlenecks", json=asked), 422, "'tea'", "root")
    assert http.get("/v1/bottlenecks/x.y").status_code == 404
    default = http.get("/v1/models").json()["data"][0]["default_bottleneck"]
    assert_problem(http.get(f"/v1/bottlenecks/{default}/file"), 404, "was not fitted here")


def test_options_that_a_job_was_not_submitted_with_are_refused(
    http: httpx.Client,
) -> None:
    asked = {"input": "ACGTTGCATTAG", "strand": "-", "skip_tokens": 2}
    job = http.post(JOBS, json=asked, headers={"Prefer": "wait=30"}).json()["id"]
    own = {"model": "ntv3-mini", "layer": "up.6", "strand": "-", "skip_tokens": 2, "species": None}
    assert http.post(EMBED, json={"job": job} | own).status_code == 200
    for other in ({"layer": "stem"}, {"strand": "+"}, {"skip_tokens": 0}, {"beyond_context": True}):
        (name,) = other
        assert_problem(http.post(EMBED, json={"job": job} | other), 422, name, "leave it out")
    fit = {"name": "x.y", "job": job, "layer": "stem"}
    assert_problem(http.post("/v1/bottlenecks", json=fit), 422, "layer", "'up.6'")
