"""Commands that only read make no store of a mistyped path; those that write make one."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from covpool.clients.cli import covpool
from covpool.store import LocationError, Store
from covpool.store.storage.locations import CATALOG_FILE
from tests.service.running import environment

READING = [
    ["inspect", "spectrum"],
    ["inspect", "cka"],
    ["inspect", "pairs", "thrA"],
    ["inspect", "similarity"],
    ["inspect", "neighbours", "thrA"],
    ["export", "{out}/t.parquet", "--assembly", "R64"],
    ["train-bottleneck", "--name", "mine"],
    ["genome", "list"],
    ["genome", "remove", "R64"],
    ["token", "list"],
    ["token", "revoke", "ann"],
    *(["store", name] for name in ("ls", "verify", "scrub", "rebuild", "compact", "gc", "migrate")),
    ["store", "backup", "{out}/b"],
    ["store", "export", "{out}/e.npz"],
]


def run(*arguments: str, **settings: str) -> Result:
    result = CliRunner().invoke(covpool, list(arguments), env=dict.fromkeys(environment(), None) | settings)
    return result


def words(result: Result) -> str:
    assert not isinstance(result.exception, click.exceptions.Exit)
    return f"{result.output}{result.exception}"


@pytest.mark.parametrize("command", READING, ids=lambda one: " ".join(one[:2]))
def test_a_mistyped_store_is_named_and_not_made(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [part.format(out=tmp_path) for part in command]
    for location in ("nope", "s3-nope/deep"):
        result = run(*filled, "--store", location)
        assert result.exit_code == 1
        assert isinstance(result.exception, LocationError)
        assert f"there is no store at {location}; check the path, or make one with" in str(result.exception)
    monkeypatch.setenv("COVPOOL_STORE", "from-variable")
    assert "there is no store at from-variable" in words(run(*filled))
    assert "lives in one process only" in words(run(*filled, "--store", "memory://"))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_was_never_started_leaves_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dir").mkdir()
    monkeypatch.setenv("COVPOOL_STORE", str(tmp_path / "dir"))
    assert "there is no store at" in words(run("worker", "--check"))
    assert list((tmp_path / "dir").iterdir()) == []


def test_what_writes_makes_the_store(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">1\nACGTACGT\n")
    assert run("token", "create", "ann", "--scope", "read", "--store", str(tmp_path / "a")).exit_code == 0
    fasta = str(tmp_path / "g.fa")
    assert run("genome", "add", "g", "--fasta", fasta, "--store", str(tmp_path / "b")).exit_code == 0
    result = run(
        "extract", fasta, COVPOOL_STORE=str(tmp_path / "c"), COVPOOL_CATALOG=f"sqlite:///{tmp_path}/d"
    )
    assert result.exit_code == 0
    assert (tmp_path / "d").is_file()
    assert not (tmp_path / "c" / CATALOG_FILE).exists()
    for name in "ab":
        Store.open(tmp_path / name, create=False).close()
    assert "ann" in run("token", "list", "--store", str(tmp_path / "a")).stdout
    assert "g\t" in run("genome", "list", "--store", str(tmp_path / "b")).stdout


def test_a_wrong_setting_is_wrong_use_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVPOOL_PORT", "http")
    result = run("token", "list", "--store", str(tmp_path / "s"))
    assert result.exit_code == 2
    assert "port: Input should be a valid integer" in result.output


def test_a_plan_needs_no_store_and_makes_none(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">chrA\n" + "ACGTTGCA" * 20 + "\n")
    (tmp_path / "a.gff3").write_text("weird\tx\tgene\t1\t30\t.\t+\t.\tID=g1\n")
    options = ["--genome", str(tmp_path / "g.fa"), "--annotation", str(tmp_path / "a.gff3")]
    options += ["--assembly", "t", "--store", str(tmp_path / "s")]
    result = run("precompute", "--plan", *options, "--alias", "weird=chrA")
    assert result.exit_code == 0, words(result)
    assert "there is no store at" in result.stderr
    assert "1 genes, 1 sequences, 30 bases; 0 of 1 matrices are cached" in result.stdout
    assert not (tmp_path / "s").exists()


def test_contigs_of_another_name_are_told_as_to_genome_add(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">chrA\n" + "ACGTTGCA" * 20 + "\n")
    (tmp_path / "a.gff3").write_text("weird\tx\tgene\t101\t200\t.\t+\t.\tID=g1\n")
    options = ["--genome", str(tmp_path / "g.fa"), "--annotation", str(tmp_path / "a.gff3")]
    options += ["--assembly", "t", "--store", str(tmp_path / "s"), "--plan", "--json"]
    assert "its genes lie on weird" in words(run("precompute", *options))
    linear = run("precompute", *options, "--alias", "weird=chrA")
    # Over the origin of 160 bases: read whole where the contig is circular.
    around = run("precompute", *options, "--alias", "weird=chrA", "--circular", "weird")
    assert '"bases": 100' in around.output
    assert '"bases": 100' not in linear.output
    assert "must be a new name of one of chrA" in words(run("precompute", *options, "--alias", "a=b"))
    result = run("precompute", *options, "--alias", "a")
    assert result.exit_code == 2
    assert "--alias is written OTHER=CONTIG" in result.output
    unknown = words(run("precompute", *options, "--alias", "weird=chrA", "--circular", "x"))
    assert "circular contig 'x': is not one of chrA" in unknown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plot", "p.foo"], "--plot: p.foo must end in"),
        (["--out", "nowhere/x.safetensors"], "--out: there is no directory nowhere; make it first"),
        (["--out", "x.npz"], "--out: x.npz must end in .safetensors"),
        (["--method", "ridge"], "--method ridge needs --targets and --fasta"),
        (["--method", "root-pca", "--features", "nosuch"], "there is no 'nosuch'"),
        (["--model", "other"], "the store has no moments of other; it has those of example layer.0"),
    ],
)
def test_a_fit_that_cannot_end_well_is_not_begun(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from covpool.store.testing import example_key, example_moments

    monkeypatch.chdir(tmp_path)
    with Store.open("s") as store:
        for name in "abcd":
            store.put(example_key(name), example_moments(name))
    result = run("train-bottleneck", "--store", "s", "--name", "mine", "--k", "2", *options)
    assert result.exit_code in (1, 2)
    assert said in words(result)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
