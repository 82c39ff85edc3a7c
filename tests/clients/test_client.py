"""Client: sequences in, numpy out, over real HTTP; errors carry the remedy."""

import gzip
import lzma
import os
import socket
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from covpool.clients import Client, JobFailedError, JobTimeoutError, ProblemError, UnreachableError
from covpool.clients.errors import ClientError
from covpool.service.schemas import Job
from covpool.store import Store
from covpool.store.testing import example_key, example_moments
from tests.service.running import Running

BASES = "ATGACCATGATTACGGATTCACTGG"


def test_one_sequence_is_one_row(client: Client) -> None:
    flat = client.embed(BASES)
    square = client.embed(BASES, square=True)
    assert flat.shape == (1, 256)
    assert flat.dtype == np.float32
    assert square.shape == (1, 16, 16)
    assert np.array_equal(flat.reshape(1, 16, 16), square)
    assert np.isfinite(flat).all()


def test_rows_are_in_the_order_of_the_input(client: Client) -> None:
    sequences = [BASES[:n] for n in (25, 7, 16)]
    together = client.embed(sequences)
    assert together.shape == (3, 256)
    for row, bases in zip(together, sequences, strict=True):
        assert np.array_equal(row, client.embed(bases)[0])
    assert np.array_equal(client.embed(sequences[::-1]), together[::-1])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_is_the_same_as_its_sequences(client: Client, tmp_path: Path, packed: bool) -> None:
    text = f">one first gene\n{BASES}\n>two\n{BASES[:9]}\n{BASES[9:20]}\n".encode()
    path = tmp_path / "genes.fa"
    path.write_bytes(gzip.compress(text) if packed else text)
    assert np.array_equal(client.embed(path), client.embed([BASES, BASES[:20]]))


def test_bytes_and_pipes_are_files_too(client: Client, tmp_path: Path) -> None:
    text = f">one\n{BASES}\n>two\n{BASES[:20]}\n".encode()
    expected = client.embed([BASES, BASES[:20]])
    assert np.array_equal(client.embed(lzma.compress(text)), expected)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(gzip.compress(text),))
    writer.start()
    assert np.array_equal(client.embed(tmp_path / "pipe"), expected)
    writer.join()


def test_options_reach_the_service(client: Client) -> None:
    complement = BASES.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    assert np.array_equal(client.embed(BASES, strand="-"), client.embed(complement))
    job = client.submit(BASES, model="ntv3-mini", layer="stem", strand="both")
    assert job.layer == "stem"
    moments = client.moments(client.wait(job).records[0].key)
    assert moments.count == 2 * len(BASES)


def test_submit_returns_a_job_that_wait_brings_to_its_end(client: Client) -> None:
    bases = "GGCATT" * 2000
    job = client.submit(bases)
    assert job.state in ("queued", "running")
    assert client.submit(bases).id == job.id
    done = client.wait(job)
    assert done.state == "done"
    assert client.wait(job.id) == client.job(job) == done
    assert client.jobs()[0] == done.model_copy(update={"records": []})


def test_moments_are_what_the_embedding_came_from(client: Client) -> None:
    job = client.wait(client.submit(BASES))
    moments = client.moments(job.records[0].key)
    assert moments.count == len(BASES)
    assert moments.second_moment.shape == (*moments.mean.shape, *moments.mean.shape)
    assert np.array_equal(moments.second_moment, moments.second_moment.T)
    centred = moments.second_moment - np.outer(moments.mean, moments.mean)
    assert np.linalg.eigvalsh(centred.astype(float))[0] > -1e-4 * np.trace(centred)


def test_progress_rises_to_the_number_of_bases(client: Client) -> None:
    seen: list[Job] = []
    client.embed(["TTGACA" * 50, "TATAAT" * 50], progress=seen.append)
    done = [job.tokens_done for job in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].tokens == 600
    assert seen[-1].state == "done"


def test_an_embedding_is_computed_before_the_bulk_jobs_that_wait(client: Client) -> None:
    bulk = client.submit([f"{'GATTAC' * 3000}{'ACGT' * n}" for n in range(1, 60)])
    try:
        assert client.embed("ATGGCGTTTAAACCC").shape == (1, 256)
        waiting = client.job(bulk, records=False)
        assert waiting.state in ("queued", "running")
        assert waiting.records_done < waiting.records_total // 2
    finally:
        client.cancel(bulk)


def test_a_job_of_many_records_is_looked_at_without_them_until_its_end(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covpool.clients.client._FEW_RECORDS", 1)
    seen: list[Job] = []
    done = client.wait(client.submit(["TTGACC" * 4000, "TATAAG" * 4000]), progress=seen.append)
    assert len(seen) > 2, "it was looked at while it ran"
    assert [len(job.records) for job in seen] == [2] + [0] * (len(seen) - 2) + [2]
    assert done == seen[-1]
    assert {job.records_total for job in seen} == {2}, "counts are true with and without the records"
    assert [job.records_done for job in seen] == sorted(job.records_done for job in seen)
    assert (done.records_done, done.records_failed) == (2, 0)
    light = client.job(done, records=False)
    assert light == done.model_copy(update={"records": []})
    (listed,) = [job for job in client.jobs() if job.id == done.id]
    assert (listed.records_total, listed.records_done, listed.records) == (2, 2, [])


def test_waiting_gives_up_when_told_and_the_job_goes_on(client: Client) -> None:
    job = client.submit("CATTAG" * 8000)
    with pytest.raises(JobTimeoutError, match=rf"{job.id} is \w+ after 0 s; it goes on"):
        client.wait(job, timeout_s=0)
    assert client.wait(job).state == "done"


def test_the_index_and_the_models_are_typed(client: Client) -> None:
    key = client.wait(client.submit(BASES)).records[0].key
    assert key in {entry.key for entry in client.index(model="ntv3-mini")}
    assert list(client.index(model="other")) == []
    assert "ntv3-mini" in {model.name for model in client.models()}


def test_the_index_goes_on_over_pages(client: Client, service: Running) -> None:
    with Store.open(service.store) as store:
        for name in map(str, range(101)):
            store.put(example_key(name), example_moments(name))
    keys = [entry.key for entry in client.index()]
    assert len(keys) > 100, "more than a page"
    assert keys == sorted(set(keys))
    assert [(len(keys),)] == service.rows("SELECT count(*) FROM entries WHERE state = 'ready'")
    assert len(list(client.index(model="example", layer="layer.0"))) == 101


@pytest.mark.parametrize(
    ("sequences", "words"),
    [("MKLPEFIQ", "protein"), ("", "empty"), ([], "at least one"), (["AC-GT", "-"], "sequence 1")],
    ids=["protein", "empty", "no sequence", "gap"],
)
def test_a_refusal_is_an_error_with_status_title_and_remedy(
    client: Client, sequences: str | list[str], words: str
) -> None:
    with pytest.raises(ProblemError, match=words) as caught:
        client.embed(sequences)
    assert caught.value.status == 422
    assert caught.value.title == "Not a DNA sequence"
    assert words in caught.value.detail
    assert isinstance(caught.value, ClientError)
    assert isinstance(caught.value, ValueError)


def test_a_job_with_a_bad_record_fails_by_its_name_and_keeps_the_others(client: Client) -> None:
    with pytest.raises(JobFailedError, match=r"1 of 2 records failed, first sequence 2: .*gaps"):
        client.embed(["ACGTT", "AC-GT"])
    assert [record.state for record in client.submit(["ACGTT", "AC-GT"]).records] == ["done", "failed"]


def test_what_is_not_there_is_a_404(client: Client) -> None:
    for ask in (
        lambda: client.moments("0" * 64),
        lambda: client.job("0" * 64),
        lambda: client.embed("ACGT", model="gpt"),
    ):
        with pytest.raises(ProblemError) as caught:
            ask()
        assert caught.value.status == 404


def test_a_missing_file_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.fa"):
        client.embed(tmp_path / "none.fa")


def test_a_service_that_does_not_answer_is_named_with_the_remedy() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            Client(url) as client,
            pytest.raises(UnreachableError, match=f"{url}.*is `covpool serve` running"),
        ):
            client.embed("ACGT")


def test_what_is_no_service_of_ours_is_still_one_error(http: httpx.Client) -> None:
    """A refusal that is no problem document, as of a proxy in between, keeps its status and text."""
    with Client(f"{http.base_url}/nowhere") as client, pytest.raises(ProblemError) as caught:
        client.models()
    assert caught.value.status == 404
