"""What fails fails alone: the rest is computed, kept in its place and shown, and each failure is named."""

import json
import socket
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from click.testing import CliRunner, Result

from covpool.clients import Client, ClientError, JobFailedError, ProblemError, UnreachableError
from covpool.clients.cli import covpool
from covpool.store import Store
from tests.service.running import COVPOOL, Running, environment

GOOD = ["ATGACCATGATTACG", "GGCTAAGGCTAA", "TTGACATATAAT", "ACGTACGT", "CCCGGGTTTAAA", "GATTACA"]
#: Seven records, of which the third is an alignment's.
SEVEN = [*GOOD[:2], "AC-GT", *GOOD[2:]]


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    path = tmp_path / "seven.fa"
    path.write_text("".join(f">g{at}\n{bases}\n" for at, bases in enumerate(SEVEN)))
    return path


def run(*arguments: str | Path, url: str = "") -> Result:
    return CliRunner().invoke(covpool, [*map(str, arguments)], env={"COVPOOL_URL": url or None})


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("pooling", ["bottleneck", "mean"])
def test_one_bad_sequence_of_seven_costs_the_others_nothing(
    client: Client, square: bool, pooling: str
) -> None:
    with pytest.raises(JobFailedError, match=r"1 of 7 records failed, first sequence 3: .*gaps") as caught:
        client.embed(SEVEN, square=square, pooling=pooling)
    assert [record.name for record in caught.value.failed] == ["sequence 3"]
    assert len(caught.value.job.records) == 7
    rows = caught.value.embeddings
    assert rows is not None
    expected = client.embed(GOOD, square=square, pooling=pooling)
    assert np.array_equal(np.delete(rows, 2, axis=0), expected)
    assert rows.dtype == np.float32
    assert np.isnan(rows[2]).all()


def test_a_job_that_was_cancelled_has_what_was_done_of_it(client: Client) -> None:
    client.embed("TGCATGCA")
    job = client.submit(["TGCATGCA", *("CATGCC" * (40_000 + at) for at in range(4))])
    client.cancel(job)
    with pytest.raises(JobFailedError, match="cancelled") as caught:
        client.wait(job)
    assert caught.value.embeddings is None
    answer = client.embeddings(job, skip_failed=True)
    assert [one.index for one in answer.data] == [0]


def test_embed_writes_the_good_and_names_the_bad(service: Running, seven: Path, tmp_path: Path) -> None:
    result = run("embed", seven, "--out", tmp_path / "o.npz", url=service.url)
    assert result.exit_code == 1
    assert "Failed: g2: FASTA, line 6: record 3: g2: " in result.stderr
    assert result.stderr.count("Failed: ") == 1
    with np.load(tmp_path / "o.npz") as written:
        assert written["names"].tolist() == ["g0", "g1", "g3", "g4", "g5", "g6"]
        assert written["embeddings"].shape == (6, 16, 16)
        assert np.isfinite(written["embeddings"]).all()
    lines = run("embed", seven, "--json", "--pooling", "mean+std", url=service.url).stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["g0", "g1", "g3", "g4", "g5", "g6"]


def test_submit_and_status_name_the_bad_and_go_on_with_the_good(service: Running, seven: Path) -> None:
    submitted = run("submit", seven, url=service.url)
    assert submitted.exit_code == 1
    assert "Failed: g2: " in submitted.stderr
    job = submitted.stdout.strip()
    waited = run("status", job, "--wait", url=service.url)
    assert waited.exit_code == 1
    assert "6/7 sequences, 1 failed" in waited.stdout.splitlines()[0]
    assert [line.split("\t")[0].strip() for line in waited.stdout.splitlines()[1:]] == [
        "done" if at != 2 else "failed" for at in range(7)
    ]
    (listed,) = [line for line in run("status", url=service.url).stdout.splitlines() if job in line]
    assert "6/7 sequences, 1 failed" in listed


def test_extract_caches_the_good_and_names_the_bad(seven: Path, tmp_path: Path) -> None:
    result = run("extract", seven, "--store", tmp_path / "s")
    assert result.exit_code == 1
    assert f"Failed: g2: {seven}, line 6: record 3: g2: " in result.stderr
    assert len(result.stdout.splitlines()) == 6
    with Store.open(tmp_path / "s") as store:
        assert len(store) == 6


@pytest.mark.parametrize("pooling", ["nosuch", "mean+nosuch", "ntv3-mini.up.6.k16"])
def test_a_bottleneck_that_cannot_be_had_is_refused_before_any_work(
    service: Running, client: Client, tmp_path: Path, pooling: str
) -> None:
    bases = "GTCCATG" * (10 + len(pooling))
    count = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM tasks)"
    before = service.rows(count)
    # The last is there, and fitted on another layer.
    with pytest.raises(ProblemError, match="bottleneck"):
        client.embed(bases, layer="stem", pooling=pooling)
    fasta = tmp_path / "g.fa"
    fasta.write_text(f">a\n{bases}\n")
    result = run("embed", fasta, "--layer", "stem", "--pooling", pooling, url=service.url)
    assert result.exit_code == 1
    with pytest.raises(ProblemError, match="no bottleneck fits model ntv3-mini, layer stem"):
        client.embed(bases, layer="stem")
    assert service.rows(count) == before


class Html(BaseHTTPRequestHandler):
    """A web server that knows nothing of covpool."""

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path.startswith("/v1/models") else 200)
        self.send_header("Location", "http://elsewhere.example/")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    do_POST = do_GET


def test_what_is_no_covpool_service_is_told_as_such() -> None:
    with HTTPServer(("127.0.0.1", 0), Html) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            for ask in (client.jobs, lambda: client.embed("ACGT"), lambda: list(client.index())):
                with pytest.raises(ClientError, match="not that of a covpool service of this version"):
                    ask()
            with pytest.raises(ClientError, match="the answer is not a matrix"):
                client.moments("0" * 64)
            with pytest.raises(
                ClientError, match=r"redirects to http://elsewhere\.example/; give the service's"
            ):
                client.models()
        server.shutdown()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://localhost:port", ""])
def test_an_address_that_is_none_is_told_as_such(url: str) -> None:
    with pytest.raises(ClientError, match=r"is not the address of a service.*write http://host:port"):
        Client(url)


def test_a_service_that_is_silent_is_not_said_to_be_away() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with (
            Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2) as client,
            pytest.raises(UnreachableError, match=r"no answer within 0\.2 s; it may be busy"),
        ):
            client.jobs()


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(service.url) as client:
        assert client.models()


def test_an_output_that_cannot_be_written_is_told_without_a_trace(service: Running, seven: Path) -> None:
    result = subprocess.run(
        [COVPOOL, "embed", str(seven), "--out", "/proc/x.npz"],
        capture_output=True,
        text=True,
        env=environment(url=service.url),
    )
    assert result.returncode in (1, 2)
    assert "/proc/x.npz" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
