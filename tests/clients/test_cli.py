"""The `covpool` command as a user runs it: exit codes, examples, JSON, and no heavy imports for help."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from covpool.clients import Client
from covpool.clients.cli import covpool as group
from covpool.store import Store
from tests.service.running import COVPOOL, Running, environment

COMMANDS = sorted(entry_points(group="covpool.commands").names)


def covpool(*arguments: str | Path, url: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    settings |= {"url": url} if url else {}
    return subprocess.run(
        [COVPOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**settings),
        timeout=120,
    )


def without(modules: set[str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `covpool` where these modules are not installed."""
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name.split('.')[0])\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from covpool.clients.cli import main\n"
        f"sys.argv = {['covpool', *arguments]!r}\n"
        "main()\n"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fasta") / "genes.fa"
    path.write_text(">lacZ beta-galactosidase\nATGACCATGATTACGGATTCACTGG\n>thrA\nATGCGAGTGTTGAAG\n")
    return path


def test_every_command_of_this_stage_is_there() -> None:
    assert {"serve", "worker", "embed", "extract", "submit", "fetch", "status", "models", "evaluate"} <= set(
        COMMANDS
    )


def test_help_lists_every_command_and_imports_none_of_their_libraries() -> None:
    script = (
        "import sys\n"
        "from covpool.clients.cli import covpool\n"
        "covpool.main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'zarr', 'fastapi', 'uvicorn', 'sqlalchemy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment()
    )
    assert result.stderr == "heavy: []\n"
    listed = {
        line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()
    }
    assert set(COMMANDS) <= listed


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(command: str) -> None:
    # In this process: eight interpreters would take ten seconds to say the same.
    result = CliRunner().invoke(group, [command, "--help"], prog_name="covpool")
    assert result.exit_code == 0
    assert "Example: " in result.output
    assert f"covpool {command}" in result.output.partition("Example: ")[2]
    loaded = group.get_command(click.Context(group), command)
    assert loaded is not None
    for parameter in loaded.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("strand", "dtype", "log_level"):
            assert parameter.help, f"{command} --{parameter.name} does not say what it is"


def test_help_and_version_end_with_0() -> None:
    for option in ("-h", "--version"):
        assert covpool(option).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["brew"], ["embed"], ["embed", "none.fa"], ["fetch", "a", "--out", "b.txt"], ["status", "--wait"]],
    ids=" ".join,
)
def test_wrong_use_ends_with_2_and_says_how(arguments: list[str]) -> None:
    result = covpool(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_what_fails_ends_with_1_and_one_line(service: Running, tmp_path: Path, fasta: Path) -> None:
    protein = tmp_path / "protein.fa"
    protein.write_text(">p\nMKLPEFIQ\n")
    cases = {
        "protein": covpool("embed", protein, url=service.url),
        "extract it first": covpool("fetch", "0" * 64, url=service.url),
        "submit it again": covpool("status", "0" * 64, url=service.url),
        "is `covpool serve` running": covpool("embed", fasta, url="http://127.0.0.1:9"),
    }
    for words, result in cases.items():
        assert result.returncode == 1, result
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_embed_writes_names_keys_and_embeddings(
    service: Running, client: Client, fasta: Path, tmp_path: Path
) -> None:
    result = covpool("embed", fasta, "--out", tmp_path / "e.npz", url=service.url)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "Wrote (2, 16, 16) float32" in result.stderr
    with np.load(tmp_path / "e.npz", allow_pickle=False) as written:
        assert written["names"].tolist() == ["lacZ", "thrA"]
        assert np.array_equal(written["embeddings"], client.embed(fasta, square=True))
        assert written["keys"].tolist() == [record.key for record in client.submit(fasta).records]


def test_sequences_come_from_files_standard_input_and_pipes(
    service: Running, fasta: Path, tmp_path: Path
) -> None:
    def bash(line: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", "-c", line]
        return subprocess.run(command, capture_output=True, text=True, env=environment(url=service.url))

    expected = covpool("embed", fasta, url=service.url).stdout
    for line in ("embed - < {}", "embed <(gzip -c {})", "embed /dev/stdin < {}"):
        result = bash(f"{COVPOOL} {line.format(fasta)}")
        assert (result.returncode, result.stdout) == (0, expected), result.stderr
    result = bash(f"{COVPOOL} extract <(cat {fasta}) --store {tmp_path / 's'}")
    assert {line.split("\t")[0] for line in result.stdout.splitlines()} == {"lacZ", "thrA"}, result.stderr
    result = bash(f"{COVPOOL} extract <(exit 3) --store {tmp_path / 's'}")
    assert (result.returncode, result.stdout) == (1, "")
    assert "nothing came; see the message of the command that writes it" in result.stderr


def test_embed_prints_json_or_a_line_for_each_sequence(service: Running, client: Client, fasta: Path) -> None:
    result = covpool("embed", fasta, "--json", url=service.url)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["lacZ", "thrA"]
    embeddings = np.array([line["embedding"] for line in lines], np.float32)
    assert np.array_equal(embeddings, client.embed(fasta, square=True))
    plain = covpool("embed", fasta, url=service.url).stdout.splitlines()
    assert [line.split("\t")[:3] for line in plain] == [[one["name"], one["key"], "16x16"] for one in lines]


def test_submit_status_and_fetch_work_hand_in_hand(
    service: Running, client: Client, fasta: Path, tmp_path: Path
) -> None:
    job = covpool("submit", fasta, url=service.url).stdout.strip()
    status = covpool("status", job, "--wait", "--json", url=service.url)
    record = json.loads(status.stdout)["records"][0]
    assert (record["name"], record["state"]) == ("lacZ", "done")
    assert job in covpool("status", url=service.url).stdout
    expected = client.moments(record["key"])

    npy = covpool("fetch", record["key"], "--out", tmp_path / "m.npy", url=service.url)
    assert npy.returncode == 0, npy.stderr
    assert np.array_equal(np.load(tmp_path / "m.npy", allow_pickle=False), expected.second_moment)
    npz = covpool("fetch", record["key"], "--json", "--out", tmp_path / "m.npz", url=service.url)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as written:
        assert int(written["count"]) == expected.count == 25
        assert np.array_equal(written["mean"], expected.mean)
        assert np.array_equal(written["second_moment"], expected.second_moment)
    assert json.loads(npz.stdout)["count"] == 25


def test_models_are_listed_as_json(service: Running) -> None:
    result = covpool("models", "--json")
    assert result.returncode == 0, result.stderr
    assert "ntv3-mini" in result.stdout
    parsed = [json.loads(line) for line in result.stdout.splitlines()]
    models = parsed[0] if isinstance(parsed[0], list) else parsed
    (mini,) = [model for model in models if model["name"] == "ntv3-mini"]
    assert isinstance(mini["trained"], bool)
    assert mini["layers"]


def test_extract_computes_once_what_the_service_would_and_says_what_was_cached(
    client: Client, fasta: Path, tmp_path: Path
) -> None:
    first = covpool("extract", fasta, "--store", tmp_path / "s", "--json")
    assert first.returncode == 0, first.stderr
    second = covpool("extract", fasta, "--store", tmp_path / "s", "--json")
    lines = [[json.loads(line) for line in run.stdout.splitlines()] for run in (first, second)]
    assert [line["cached"] for line in lines[0]] == [False, False]
    assert [line["cached"] for line in lines[1]] == [True, True]
    # Computed sequences are told as they are done, cached ones in the order of the file.
    assert {line["name"]: line["key"] for line in lines[0]} == {
        line["name"]: line["key"] for line in lines[1]
    }

    job = client.wait(client.submit(fasta))
    assert [record.key for record in job.records] == [line["key"] for line in lines[1]]
    with Store.open(tmp_path / "s") as store:
        for record in job.records:
            served, ours = client.moments(record.key), store.get(record.key)
            np.testing.assert_allclose(served.second_moment, ours.second_moment, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "command", "line"),
    [
        ("fastapi", "serve", "needs fastapi: pip install 'covpool[service"),
        ("torch", "extract", "needs torch: pip install 'covpool[service,extractor]'"),
        ("obonet", "evaluate", "needs obonet: pip install 'covpool[evaluation]'"),
    ],
)
def test_a_missing_extra_is_answered_with_its_install_line(module: str, command: str, line: str) -> None:
    result = without({module}, command, "--help")
    assert result.returncode == 1
    assert line in result.stderr
    assert "Traceback" not in result.stderr


def test_the_client_commands_need_no_extra() -> None:
    result = without({"torch", "zarr", "fastapi", "sqlalchemy", "xopen"}, "embed", "--help")
    assert result.returncode == 0, result.stderr


def test_output_that_nobody_reads_to_the_end_is_no_error(service: Running) -> None:
    """`covpool status | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [COVPOOL, "status", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(url=service.url),
    )
    os.close(writer)
    assert "Traceback" not in result.stderr


def test_ids_that_look_like_markup_are_shown_as_they_are(service: Running, tmp_path: Path) -> None:
    source = tmp_path / "markup.fa"
    source.write_text(">[/x]\nACGUACGU\n>a[bold]x\nACGUU\n")
    result = covpool("embed", source, "--out", tmp_path / "o.npz", url=service.url)
    assert result.returncode == 0, result.stderr
    assert "Notice: [/x]: 2 U read as T" in result.stderr
    assert "Notice: a[bold]x: 2 U read as T" in result.stderr
    with np.load(tmp_path / "o.npz") as saved:
        assert list(saved["names"]) == ["[/x]", "a[bold]x"]


@pytest.mark.parametrize("out", ["nowhere/o.npz", "o", "o.txt"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    service: Running, fasta: Path, tmp_path: Path, out: str
) -> None:
    result = covpool("embed", fasta, "--out", tmp_path / out, url=service.url)
    assert result.returncode == 2
    assert "--out" in result.stderr
    assert "bases" not in result.stderr


@pytest.mark.parametrize("arguments", [("fetch", "../jobs"), ("status", ""), ("status", "x")])
def test_what_names_no_job_or_key_is_refused_without_asking(arguments: tuple[str, str]) -> None:
    result = covpool(*arguments)
    assert result.returncode == 1
    assert "64 hexadecimal digits" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_damaged_entry_is_mended_by_extracting_again(fasta: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    first = covpool("extract", fasta, "--store", store, "--json")
    chunk = next(store.glob("arrays/*/second_moment/c.0.0.0"))
    chunk.write_bytes(chunk.read_bytes()[:-5] + b"xxxxx")
    with Store.open(store) as damaged:
        assert len(damaged.verify()) == 1
    again = covpool("extract", fasta, "--store", store, "--json", "--again")
    assert first.returncode == again.returncode == 0, again.stderr
    with Store.open(store) as mended:
        assert mended.verify() == []


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_broken_checkpoint_is_refused_in_one_line_before_anything_is_served(
    tmp_path: Path, file: str
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / file).write_text("{")
    for arguments in (
        ("serve", "--store", str(tmp_path / "s"), "--model", str(broken)),
        ("models", str(broken)),
    ):
        result = covpool(*arguments)
        assert result.returncode == 1
        assert result.stderr.startswith("Error: ")
        assert "serves http" not in result.stdout


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    from covpool.extractor import describe

    source = describe("ntv3-mini").checkpoint.directory
    twin = tmp_path / "ntv3-mini"
    twin.mkdir()
    for name in ("config.json", "model.safetensors"):
        (twin / name).write_bytes((source / name).read_bytes())
    result = covpool("serve", "--store", tmp_path / "s", "--model", twin)
    assert result.returncode == 1
    assert "two models are called 'ntv3-mini'" in result.stderr
