"""Malformed requests, hundreds of them: each is a 4xx with a problem document, and nothing is queued."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.in_process import fill, in_process

EMBED, JOBS, MOMENTS = "/v1/embeddings", "/v1/jobs", "/v1/moments"
JSON = {"Content-Type": "application/json"}
UNKNOWN = "0" * 64
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A form by hand: Content-Disposition parameters and content of each part."""
    head = b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
    return b"".join(head % (name.encode(), content) for name, content in parts) + end


FILE = 'name="fasta"; filename="g.fa"'
GZIP = gzip.compress(b">a\n" + b"ACGT" * 5000 + b"\n")

#: Values that no field of a request takes.
STRANGE: dict[str, list[Any]] = {
    "input": [
        7,
        1.5,
        True,
        {},
        {"a": 1},
        [1],
        [None],
        [[]],
        [["ACGT"]],
        ["ACGT", 7],
        [{}],
        "",
        " ",
        [],
        [""],
    ],
    "model": [
        7,
        None,
        [],
        {},
        "",
        "NTV3-MINI",
        "ntv3-mini\x00",
        "../ntv3-mini",
        "/etc/passwd",
        "x" * 5000,
        "\ud800",
    ],
    "layer": [7, [], {}, "", "up.99", "up.6 ", "../up.6", "<b>", "\x00", "x" * 5000],
    "strand": [None, "", "*", "plus", "+-", 1, [], "BOTH"],
    "skip_tokens": [-1, 1.5, "x", None, [], 10**30, 4],
    "species": [7, [], {}, "human", "<script>"],
    "beyond_context": ["maybe", 7, None, [], {}],
    "priority": ["high", 0, None, []],
    "assembly": [7, [], "hg38", "../x", "\x00", "x" * 5000],
    "gene": [7, {}, [], [7], "lacZ", ["lacZ"]],
    "region": [7, {}, [], "chr1:0-10", "x", [None]],
    "bottleneck": [7, [], "", "nope", "../nope", "/etc/passwd", "mean+", "+", "\x00", "x" * 5000],
    "surplus": [1, None, "ACGT"],
}
EMBED_ONLY: dict[str, list[Any]] = {
    "pooling": ["max", "", None, 7, []],
    "encoding_format": ["hex", "", 7],
    "job": [7, [], "", "x", UNKNOWN, UNKNOWN[:-1], "../" + UNKNOWN],
    "user": [7, [], {}],
    "dimensions": [16, 0, -1, 1.5, "x", 10**30, []],
}
TEXTS = [
    "ACGT\x00ACGT",
    "\x00",
    "AC-GT",
    "AC.GT",
    "MKLPEFIQ",
    "12345",
    "ACGTß",
    "АСGТ",
    "\ud800",
    "😀",
    "<b>ACGT</b>",
    "ACGT;DROP TABLE jobs",
    "{}",
    ">",
    ">\n",
    ">a",
    ">a\n",
    ">a\n\n>b\n",
    "> \nACGT\n",
    ">a\nACGT\n>a\nACGT\n",
    ">a\x00b\nACGT\n",
    ">a\x1b[31m\nACGT\n",
    ">gène\nACGT\n",
    ">a\nMKLPEF\n",
    ">a\n>b\nACGT\n>b\nACGT\n",
    ";a\nACGT\n",
    "@a\nACGT\n+\nIIII\n",
    "RYSWKMBDHV",
    "file:///etc/passwd",
    "http://example.org/a.fa",
    "../../etc/passwd",
]
BODIES = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"true",
    b"7",
    b'"ACGT"',
    b"{]",
    b"{'input': 'ACGT'}",
    b"input=ACGT",
    b'{"input": "ACGT"',
    b'{"input": "ACGT",}',
    b'{"input": "AC\ngt"}',
    b'{"input": ACGT}',
    b"\xff\xfe",
    b"\x00",
    b'{"input": NaN}',
    b'{"input": "ACGT", "skip_tokens": Infinity}',
    b'{"input": "ACGT"} x',
    b"\xef\xbb\xbf{}",
    b'{"input": "ACGT", "input": "TTTT"}',
    b'{"input": "ACGT", "strand": "+", "strand": "-"}',
    b'{"input": "\xff"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"skip_tokens": ' + b"9" * 5000 + b"}",
    GZIP,
    b'{"input": "' + b"A" * 10 + b"\\u00" + b'"}',
    b">a\nACGT\n",
]
FORMS = [
    b"",
    b"--b--\r\n",
    b"--b",
    b"nonsense",
    form(),
    form((FILE, b"")),
    form((FILE, b">a\n")),
    form((FILE, b"ACGT")),
    form((FILE, b">a\nACGT\n"), end=b""),
    form(('name="fasta"', b">a\nACGT\n")),
    form((FILE.replace("fasta", "fata"), b"x")),
    form((FILE, b">a\nACGT\n"), (FILE, b">b\nACGT\n")),
    form((FILE, GZIP[:-20])),
    form((FILE, GZIP[:20])),
    form((FILE, GZIP[:-1])),
    form((FILE, GZIP[:-8] + b"\x00" * 8)),
    form((FILE, b"\x1f\x8b")),
    form((FILE, b"\x00" * 100)),
    form((FILE, b"BZh91AY")),
    form((FILE, b"PK\x03\x04")),
    form((FILE, b">a\nAC\xffGT\n")),
    form((FILE, b"\x89PNG\r\n")),
    form((FILE, b">a\nACGT\n"), ('name="strand"', b"+"), ('name="strand"', b"-")),
    form((FILE, b">a\nACGT\n"), ('name="strand"', b"*")),
    form((FILE, b">a\nACGT\n"), ('name="skip_tokens"', b"-1")),
    form((FILE, b">a\nACGT\n"), ('name="surplus"', b"1")),
    form((FILE, b">a\nACGT\n"), ('name="model"', b"\xff")),
    form((FILE, b">a\nACGT\n"), ('name="model"', b"x" * 10_000)),
    form((FILE, b">a\nACGT\n"), ('name="input"', b"ACGT")),
    form((FILE, b">a\nACGT\n"), *[(f'name="x{n}"', b"") for n in range(50)]),
    form(('name=""; filename=""', b"x")),
    form((FILE, b">../../x\n>b\n")),
    form((FILE, b">a\n" + b"X" * 1000)),
    form((FILE, b"".join(b">%d\nX\n" % n for n in range(10_001)))),
]
TYPES = [
    "",
    "text/plain",
    "application/x-fasta",
    "application/xml",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "application/jsonx",
    "image/png",
    "\x00",
    "a" * 3000,
]
PATHS = [
    "/v1",
    "/v1/",
    "/v1/nothing",
    "/v2/jobs",
    "/admin",
    "/.env",
    "/v1/jobs/x",
    f"/v1/jobs/{UNKNOWN}",
    "/v1/jobs/x/events",
    f"/v1/jobs/{UNKNOWN}/events",
    "/v1/jobs/%00",
    "/v1/jobs/..%2f..%2fetc",
    "/v1/moments/x",
    f"/v1/moments/{UNKNOWN}",
    "/v1/moments/%2e%2e%2fcatalog.sqlite",
    "/v1/moments/é",
    f"/v1/moments/{'A' * 64}",
    "/v1/moments/" + "0" * 5000,
    "/v1/jobs?limit=0",
    "/v1/jobs?limit=x",
    "/v1/jobs?limit=101",
    "/v1/jobs?limit=1e3",
    "/v1/jobs?after=x",
    f"/v1/jobs?after={UNKNOWN}",
    "/v1/index?limit=-1",
    "/v1/index?limit=1001",
    "/v1/index?after=" + "x" * 300,
    "/v1/models?after=nope",
    "/v1/bottlenecks?after=nope",
    "/v1/genomes?after=nope",
    "/v1/genomes/nope",
    "/v1/genomes/..",
    "/v1/genomes/nope/genes",
    "/v1/genomes/%00/genes?name=%00",
    "/zarr/",
    "/zarr/catalog.sqlite",
    "/zarr/..%2fcatalog.sqlite",
    "/zarr/%00",
    "/zarr/zarr.json/x",
    "/static/../../etc/passwd",
]


def cases() -> Iterator[Any]:
    """Method, path, body and headers of every case, under an id that says which it is."""
    for route in (JOBS, EMBED):
        for field, values in (STRANGE | (EMBED_ONLY if route == EMBED else {})).items():
            for number, value in enumerate(values):
                asked = {"input": "ACGT", field: value}
                # JSON by hand: half a character is no text, but may well be sent.
                yield pytest.param(
                    "POST", route, json.dumps(asked).encode(), JSON, id=f"{route} {field} {number}"
                )
    for number, text in enumerate(TEXTS):
        yield pytest.param("POST", JOBS, json.dumps({"input": text}).encode(), JSON, id=f"text {number}")
    for number, body in enumerate(BODIES):
        for route in (JOBS, MOMENTS):
            yield pytest.param("POST", route, body, JSON, id=f"body {number} {route}")
    for number, body in enumerate(FORMS):
        yield pytest.param("POST", JOBS, body, BOUNDARY, id=f"form {number}")
    for number, kind in enumerate(TYPES):
        content = {"Content-Type": kind}
        yield pytest.param("POST", EMBED, b'{"input": "ACGT"}', content, id=f"type {number}")
    for number, path in enumerate(PATHS):
        yield pytest.param("GET", path, b"", {}, id=f"path {number}")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GET"):
        yield pytest.param(method, EMBED, b"", {}, id=f"method {method}")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    directory = tmp_path_factory.mktemp("malformed")
    fill(directory, "a")
    with in_process(directory, max_wait_s=0) as client:
        yield client


# Starlette leaves the file of a form without an end to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("method", "path", "body", "headers"), list(cases()))
def test_a_malformed_request_is_refused_with_a_problem_document(
    api: TestClient, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    response = api.request(method, path, content=body, headers=headers)
    assert 400 <= response.status_code < 500, response.text[:300]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"] and problem["detail"]
    assert len(response.content) < 20_000, "an answer must not repeat what was sent"


def test_there_are_many_and_none_of_them_was_queued(api: TestClient) -> None:
    assert len(list(cases())) >= 150
    assert api.get(JOBS).json()["data"] == []
