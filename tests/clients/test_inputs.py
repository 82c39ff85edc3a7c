"""What a caller has is what it gives: text, lists, files, pipes, bytes and file objects are one input."""

import gzip
import io
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from covpool.clients import Client, ClientError
from covpool.clients.cli import covpool
from covpool.clients.inputs import Input
from tests.service.running import COVPOOL, Running, environment

TEXT = ">one\nATGACCATGATTACGGATTCACTGG\n>two\nATGCGAGTGTTGAAG\n"
BASES = ["ATGACCATGATTACGGATTCACTGG", "ATGCGAGTGTTGAAG"]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "genes.fa"
    path.write_text(TEXT)
    (path.parent / "genes.fa.gz").write_bytes(gzip.compress(TEXT.encode()))
    return path


def test_every_form_of_one_input_has_the_same_embeddings(client: Client, fasta: Path) -> None:
    expected = client.embed(BASES)
    forms: list[Input] = [
        tuple(BASES),
        TEXT,
        fasta,
        Path(f"{fasta}.gz"),
        TEXT.encode(),
        gzip.compress(TEXT.encode()),
        io.BytesIO(TEXT.encode()),
        io.StringIO(TEXT),
    ]
    for form in forms:
        assert np.array_equal(client.embed(form), expected), form
    with fasta.open("rb") as opened:
        assert np.array_equal(client.embed(opened), expected)


def test_a_pipe_is_read_once_and_sent_whole(client: Client, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = ">long\n" + "ACGTTGCA" * 20_000 + "\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    job = client.submit(pipe)
    writer.join()
    assert [record.length for record in job.records] == [160_000], "more than a pipe holds at once"
    client.cancel(job)


def test_the_name_of_a_file_is_not_taken_for_bases(client: Client, fasta: Path) -> None:
    with pytest.raises(ClientError, match=r"genes\.fa' is the name of a file; give it as Path\("):
        client.embed(str(fasta))


@pytest.mark.parametrize("command", ["embed", "submit"])
def test_commands_read_standard_input_and_process_substitutions(
    command: str, service: Running, fasta: Path
) -> None:
    def run(argument: str, shell: str = "") -> str:
        result = subprocess.run(
            ["bash", "-c", f'"$0" {command} {argument} {shell}', COVPOOL],
            capture_output=True,
            text=True,
            env=environment(url=service.url) | {"FASTA": str(fasta)},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    plain = run('"$FASTA"')
    assert plain
    assert run("-", '< "$FASTA"') == run('<(cat "$FASTA")') == run("-", '< "$FASTA.gz"') == plain


def test_extract_reads_standard_input_and_pipes(fasta: Path, tmp_path: Path) -> None:
    def run(argument: str, given: bytes = b"") -> list[str]:
        options = ["extract", argument, "--store", str(tmp_path / "s")]
        result = CliRunner().invoke(covpool, options, input=given)
        assert result.exit_code == 0, result.output
        return sorted(line.rpartition("\t")[0] for line in result.stdout.splitlines())

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(fasta.read_bytes(),))
    writer.start()
    assert run(str(pipe)) == run("-", fasta.read_bytes()) == run(str(fasta))
    writer.join()


def test_nothing_on_standard_input_is_told_as_such(service: Running) -> None:
    result = subprocess.run(
        [COVPOOL, "embed", "-"],
        input="",
        capture_output=True,
        text=True,
        env=environment(url=service.url),
    )
    assert result.returncode == 1
    assert "holds no FASTA record" in result.stderr
