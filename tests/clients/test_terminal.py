"""On a terminal: every kind of embedding is shown, and progress says how many sequences are done."""

import os
import pty
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from covpool.clients import Client
from covpool.clients.cli import covpool
from covpool.store.poolings.kinds import KINDS
from tests.service.running import COVPOOL, Running, environment

FITTED = "ntv3-mini.up.6.k16"


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("terminal") / "genes.fa"
    path.write_text(">a\nATGACCATGATTACGGATTCACTGG\n>b\nATGCGAGTGTTGAAG\n>c\nATGGCGTAA\n")
    return path


def on_a_terminal(*arguments: str | Path, **settings: str) -> tuple[int, str]:
    """Exit code of a command, and all it shows on a terminal that is standard output and error."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [COVPOOL, *map(str, arguments)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(**settings) | {"TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 1 << 16)
        except OSError:
            # The other end is closed.
            break
        if not part:
            break
        shown += part
    os.close(controller)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return process.wait(), text.replace("\r", "\n")


def test_a_vector_is_shown_on_a_terminal_with_the_progress_of_its_job(service: Running, fasta: Path) -> None:
    code, shown = on_a_terminal("embed", fasta, "--pooling", "mean", url=service.url)
    assert code == 0, shown
    assert "3 of 3 sequences" in shown
    assert "0 of 0" not in shown
    lines = [line for line in shown.splitlines() if line.startswith(("a\t", "b\t", "c\t"))]
    assert len(lines) == 3
    assert all(re.fullmatch(r"\w\t[0-9a-f]{64}\t64\t(\S+ ){4}\.\.\.", line.rstrip()) for line in lines), lines


@pytest.mark.parametrize("pooling", [FITTED, *KINDS, "mean+std", f"mean+{FITTED}", "ntv3-mini.up.6.s136"])
def test_every_kind_of_pooling_is_shown_and_written(
    pooling: str, service: Running, client: Client, fasta: Path, tmp_path: Path
) -> None:
    expected = client.embed(fasta, square=True, pooling=pooling)
    assert expected.shape[0] == 3

    def run(*options: str) -> str:
        result = CliRunner().invoke(
            covpool, ["embed", str(fasta), "--pooling", pooling, "--url", service.url, *options]
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    shape = "x".join(map(str, expected.shape[1:]))
    assert [line.split("\t")[2] for line in run().splitlines()] == [shape] * 3
    assert run("--out", str(tmp_path / "o.npz")) == ""
    with np.load(tmp_path / "o.npz") as written:
        assert np.array_equal(written["embeddings"], expected)
    assert len(run("--json").splitlines()) == 3
    flat = client.embed(fasta, pooling=pooling)
    assert np.array_equal(flat, expected.reshape(3, -1))


def test_the_option_and_argument_of_0_1_are_understood_and_called_deprecated(
    service: Running, client: Client, fasta: Path
) -> None:
    with pytest.warns(DeprecationWarning, match="use pooling="):
        old = client.embed(fasta, bottleneck="root")
    assert np.array_equal(old, client.embed(fasta, pooling="root"))
    found = CliRunner().invoke(covpool, ["embed", str(fasta), "--bottleneck", "root", "--url", service.url])
    assert (found.exit_code, len(found.stdout.splitlines())) == (0, 3)
    assert "'bottleneck' is deprecated" in found.stderr


def test_one_sequence_is_shown_as_one_line(service: Running, tmp_path: Path) -> None:
    fasta = tmp_path / "one.fa"
    fasta.write_text(">only\nATGGCGTAA\n")
    code, shown = on_a_terminal("embed", fasta, "--pooling", "covariance", url=service.url)
    assert code == 0, shown
    assert sum(line.startswith("only\t") for line in shown.splitlines()) == 1
    code, shown = on_a_terminal("status", url=service.url)
    assert code == 0, shown
    assert "0/0" not in shown


def test_a_fetched_matrix_is_told_on_a_terminal(service: Running, client: Client, tmp_path: Path) -> None:
    key = client.wait(client.submit("ATGGCGTAA")).records[0].key
    for out in ("m.npy", "m.npz"):
        code, shown = on_a_terminal("fetch", key, "--out", tmp_path / out, url=service.url)
        assert code == 0, shown
        assert "9 tokens, 64 x 64, trace" in shown
