"""covpool precompute: every gene once, anywhere, to the same bits, whatever dies on the way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result

from covpool.extractor import extract, load_adapter, normalise
from covpool.extractor.sequences.sequences import reverse_complement
from covpool.service.bulk.report import disk_bytes
from covpool.service.commands.precompute import precompute
from covpool.store import Store
from covpool.store.values.moments import merge
from tests.service.bulk.faulty_bulk.sitecustomize import HARMS

FLANK = 50
#: Start, length, strand and harm of the genes.
GENES = [
    (1000, 300, "+", None),
    (1500, 310, "-", None),
    (2000, 1100, "+", "kill once"),
    (4000, 1111, "+", None),
    (6000, 9500, "-", None),
    (16000, 450, "+", "kill"),
    (17000, 401, "+", None),
    (18000, 900, "+", "overflow"),
    (19000, 901, "+", "kill Dask worker"),
    (20000, 2600, "+", "sleep once"),
    (23000, 30, "+", None),
    (24980, 20, "-", None),
]
CLASSES = "whole,gene,upstream,downstream"


@dataclass
class Case:
    """Files of a small genome."""

    directory: Path
    bases: str

    def arguments(self, store: str, *more: str) -> list[str]:
        """Of the command, with a store in the directory."""
        named = {"genome": "g.fa", "annotation": "g.gff3", "store": store}
        files = [text for name, file in named.items() for text in (f"--{name}", str(self.directory / file))]
        return [*files, "--assembly", "tiny", "--selections", CLASSES, "--flank", str(FLANK), *more]

    def run(self, store: str, *more: str) -> Result:
        """The command in this process (its workers are others)."""
        return CliRunner().invoke(precompute, self.arguments(store, *more, "--json"))

    def start(self, store: str, *more: str, faults: Path) -> "subprocess.Popen[str]":
        """The command as a process whose workers are harmed."""
        faults.mkdir(exist_ok=True)
        path = f"{Path(__file__).parent / 'faulty_bulk'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        code = "from covpool.service.commands.precompute import precompute\n"
        # Also where the tests run in the background, whose processes ignore interrupts.
        code += "import signal\nif __name__ == '__main__':\n"
        code += "    signal.signal(signal.SIGINT, signal.default_int_handler)\n    precompute()\n"
        script = self.directory / "command.py"
        script.write_text(code)
        return subprocess.Popen(
            [sys.executable, str(script), *self.arguments(store, *more, "--json")],
            env=os.environ | {"PYTHONPATH": path, "COVPOOL_TEST_FAULTS": str(faults)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    directory = tmp_path_factory.mktemp("genome")
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 25_000))
    lines = ["##gff-version 3"]
    for number, (start, length, strand, harm) in enumerate(GENES):
        if harm is not None:
            begin = start - FLANK
            bases = bases[:begin] + HARMS[harm] + bases[begin + len(HARMS[harm]) :]
        names = f"ID=g{number};gene=sym{number};locus_tag=t{number}"
        lines.append(f"c\tt\tgene\t{start + 1}\t{start + length}\t.\t{strand}\t.\t{names}")
    (directory / "g.fa").write_text(f">c\n{bases}\n")
    (directory / "g.gff3").write_text("\n".join(lines) + "\n")
    return Case(directory, bases)


@pytest.fixture(scope="module")
def undisturbed(case: Case) -> Iterator[Store]:
    """Everything, computed in one process that nothing happened to."""
    result = case.run("undisturbed")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["done"], report["cached"], report["failed"]) == (len(GENES), 0, {})
    files = [path for path in (case.directory / "undisturbed").rglob("*") if path.is_file()]
    assert disk_bytes(str(case.directory / "undisturbed")) == sum(path.stat().st_size for path in files)
    assert report["disk_bytes"] > sum(path.stat().st_size for path in files if "second_moment" in str(path))
    with Store.open(case.directory / "undisturbed") as store:
        yield store


def contents(store: Store) -> dict[str, tuple[int, bytes, bytes]]:
    stored = {entry.key: store.get(entry.key) for entry in store.catalog.entries()}
    return {key: (one.count, one.mean.tobytes(), one.second_moment.tobytes()) for key, one in stored.items()}


def assert_same(case: Case, store: str, expected: Store, *, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Bit for bit what the undisturbed run stored, without some genes."""
    wanted = contents(expected)
    for gene in without:
        for found in expected.names.find(gene):
            del wanted[found.entry.key]
    with Store.open(case.directory / store) as opened:
        assert contents(opened) == wanted
        assert not list((case.directory / store).glob("partials/*"))


def ready(case: Case, store: str) -> int:
    with Store.open(case.directory / store) as opened:
        return len(opened)


def wait_for(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_every_class_of_every_gene_is_that_of_a_plain_extraction(case: Case, undisturbed: Store) -> None:
    adapter = load_adapter("ntv3-mini", device="cpu")
    for number in (0, 1, 4, 11):
        start, length, strand, _ = GENES[number]
        begin, end = max(0, start - FLANK), min(25_000, start + length + FLANK)
        bases = case.bases[begin:end]
        bases = reverse_complement(bases) if strand == "-" else bases
        expected = extract(adapter, normalise(bases), ["up.6"])["up.6"]
        parts = {
            found.entry.namespace.recipe.selection: undisturbed.get(found.entry.key)
            for found in undisturbed.names.find(f"g{number}")
        }
        # Float32: forwards of another shape, and what is stored, are rounded otherwise.
        assert parts["whole"].count == expected.count == end - begin
        error = np.linalg.norm(parts["whole"].second_moment - expected.second_moment)
        assert error < 1e-5 * np.linalg.norm(expected.second_moment)
        upstream = FLANK if strand == "+" else end - start - length
        assert parts.get("upstream") is None if not upstream else parts["upstream"].count == upstream
        merged = merge(one for name, one in parts.items() if name in ("gene", "upstream", "downstream"))
        assert merged.count == expected.count
        error = np.linalg.norm(merged.second_moment - parts["whole"].second_moment)
        assert error < 1e-6 * np.linalg.norm(parts["whole"].second_moment)


def test_genes_are_found_by_id_symbol_tag_and_place(undisturbed: Store) -> None:
    for name in ("g3", "sym3", "t3"):
        matches = undisturbed.names.find(name, assembly="tiny", selection="whole")
        assert [(match.name.chrom, match.name.start, match.name.end) for match in matches] == [
            ("c", 4000, 5111)
        ]
    places = undisturbed.names.overlapping("tiny", "c", 4100, 4101, selection="gene", kind="gene_id")
    assert [one.name.name for one in places] == ["g3"]


def test_the_same_command_again_runs_nothing(case: Case, undisturbed: Store) -> None:
    before = {entry.key: entry.created for entry in undisturbed.catalog.entries()}
    report = json.loads(case.run("undisturbed").stdout)
    assert (report["done"], report["cached"], report["matrices"]) == (0, len(GENES), 0)
    assert report["disk_bytes"] == 0
    assert {entry.key: entry.created for entry in undisturbed.catalog.entries()} == before


def test_what_is_damaged_counts_as_missing_when_it_is_verified(case: Case, undisturbed: Store) -> None:
    shutil.copytree(case.directory / "undisturbed", case.directory / "damaged")
    rows = sorted((case.directory / "damaged").glob("arrays/*/second_moment/c.[03].0.0"))
    for path in rows:
        path.write_bytes(path.read_bytes()[:-1])
    planned = json.loads(case.run("damaged", "--plan").stdout)
    assert planned["missing"]["matrices"] == 0, "the catalog alone does not know"
    result = case.run("damaged", "--verify")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("its row was retired") == len(rows) > 1
    assert json.loads(result.stdout)["matrices"] == len(rows)
    assert_same(case, "damaged", undisturbed)


def test_a_plan_counts_and_does_nothing(case: Case, undisturbed: Store, tmp_path: Path) -> None:
    plan = json.loads(CliRunner().invoke(precompute, case.arguments("new", "--plan", "--json")).stdout)
    assert plan["genes"] == plan["sequences"] == len(GENES)
    assert plan["matrices"] == plan["missing"]["matrices"] == len(undisturbed)
    assert plan["bases"] == sum(min(25_000, s + n + FLANK) - s + FLANK for s, n, _, _ in GENES)
    assert plan["missing"]["cost_bases"] >= plan["bases"]
    assert ready(case, "new") == 0
    done = json.loads(
        CliRunner().invoke(precompute, case.arguments("undisturbed", "--plan", "--json")).stdout
    )
    assert done["missing"]["matrices"] == 0


def test_only_the_missing_layer_is_planned(case: Case, undisturbed: Store, tmp_path: Path) -> None:
    plan = CliRunner().invoke(
        precompute, [*case.arguments("undisturbed", "--plan", "--json"), "--layer", "up.6", "--layer", "up.5"]
    )
    missing = json.loads(plan.stdout)["missing"]
    # up.5 has two bases per token: every class has tokens there.
    assert missing["matrices"] == len(undisturbed)


def test_the_option_of_0_1_is_understood_and_called_deprecated(case: Case) -> None:
    arguments = [x.replace("--selections", "--regions") for x in case.arguments("undisturbed", "--plan")]
    result = CliRunner().invoke(precompute, arguments)
    assert result.exit_code == 0
    assert "Notice: --regions is deprecated: use --selections" in result.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--selections", "whole,tea"], "'tea' is none of whole, gene"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "not both"),
        (["--flank", "-1"], "flank"),
    ],
    ids=["class", "both", "flank"],
)
def test_wrong_use_is_told_with_code_2(case: Case, more: list[str], message: str) -> None:
    result = CliRunner().invoke(precompute, case.arguments("x", *more))
    assert result.exit_code == 2
    assert message in result.output


def test_genes_that_cannot_be_read_fail_and_the_rest_completes(case: Case, tmp_path: Path) -> None:
    (tmp_path / "odd.fa").write_text(f">c\n{case.bases[:2000]}\n>d\nACGTEEEEEEEE{case.bases[:2000]}\n")
    rows = [("c", 1001, 1300, "good"), ("d", 1, 200, "protein"), ("d", 200, 400, "dna")]
    lines = [f"{c}\tt\tgene\t{s}\t{e}\t.\t+\t.\tID={name}\n" for c, s, e, name in rows]
    (tmp_path / "odd.gff3").write_text("".join(lines))
    files = {"genome": "odd.fa", "annotation": "odd.gff3", "store": "s"}
    arguments = [text for name, file in files.items() for text in (f"--{name}", str(tmp_path / file))]
    result = CliRunner().invoke(precompute, [*arguments, "--assembly", "odd", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["genes"], report["done"]) == (3, 2)
    assert list(report["failed"]) == ["protein"]
    assert "no IUPAC nucleotide code" in report["failed"]["protein"]


def outcome(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    out, err = process.communicate(timeout=200)
    return process.returncode, json.loads(out) if out.strip() else {}, err


@pytest.mark.slow
def test_a_process_killed_while_it_hands_over_its_results_loses_none(
    case: Case, undisturbed: Store, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    for flag in ("while-telling", "no-kill", "kill-once", "sleep-once"):
        (tmp_path / "f" / flag).touch()
    code, report, err = outcome(case.start("told", faults=tmp_path / "f"))
    assert (tmp_path / "f" / "told").exists()
    assert (code, list(report["failed"])) == (1, ["g7"]), err
    assert_same(case, "told", undisturbed, without={"g7"})


@pytest.mark.slow
@pytest.mark.parametrize("where", [[], ["--workers", "2"]], ids=["one process", "cluster"])
def test_a_killed_worker_costs_nothing_and_a_killing_gene_only_itself(
    case: Case, undisturbed: Store, tmp_path: Path, where: list[str]
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "sleep-once").touch()
    name = f"killed-{len(where)}"
    code, report, err = outcome(case.start(name, *where, faults=tmp_path / "f"))
    assert code == 1 and report, err
    assert set(report["failed"]) == {"g5", "g7"}
    assert "killed" in report["failed"]["g5"]
    assert "overflowed" in report["failed"]["g7"]
    assert report["done"] == len(GENES) - 2
    assert_same(case, name, undisturbed, without={"g5", "g7"})


@pytest.mark.slow
def test_a_gene_that_kills_the_dask_worker_itself_is_the_only_one_blamed(
    case: Case, undisturbed: Store, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    for flag in ("sleep-once", "no-kill", "kill-once", "kill-Dask-worker"):
        (tmp_path / "f" / flag).touch()
    code, report, err = outcome(case.start("hosts", "--workers", "2", faults=tmp_path / "f"))
    assert code == 1 and report, err
    assert set(report["failed"]) == {"g7", "g8"}, report["failed"]
    assert report["failed"]["g8"] == "every Dask worker that tried it was killed"
    assert_same(case, "hosts", undisturbed, without={"g7", "g8"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "sign"),
    [
        ([], signal.SIGKILL),
        ([], signal.SIGINT),
        (["--workers", "2"], signal.SIGKILL),
        (["--workers", "2"], signal.SIGINT),
    ],
    ids=["one process killed", "one process interrupted", "cluster killed", "cluster interrupted"],
)
def test_the_same_command_goes_on_after_it_was_stopped(
    case: Case, undisturbed: Store, tmp_path: Path, where: list[str], sign: signal.Signals
) -> None:
    (tmp_path / "f").mkdir()
    for spared in ("kill-once", "no-kill"):
        (tmp_path / "f" / spared).touch()
    name = f"stopped-{sign}-{len(where)}"
    process = case.start(name, *where, faults=tmp_path / "f")
    wait_for(lambda: (tmp_path / "f" / "sleep-once").exists() and ready(case, name) > 0)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sign)
    began = time.monotonic()
    code, report, err = outcome(process)
    # The gene at work sleeps for two minutes, and is not waited for.
    assert time.monotonic() < began + 100
    assert code == (1 if sign == signal.SIGINT else -signal.SIGKILL), err
    if sign == signal.SIGINT:
        assert report["interrupted"]
    # No worker stays behind.
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 30)
    with Store.open(case.directory / name) as store:
        before = {entry.key: entry.created for entry in store.catalog.entries()}
    again = case.run(name)
    assert again.exit_code == 0, again.output
    with Store.open(case.directory / name) as store:
        after = {entry.key: entry.created for entry in store.catalog.entries()}
    assert {key: after[key] for key in before} == before
    assert json.loads(again.stdout)["matrices"] == len(after) - len(before)
    assert_same(case, name, undisturbed)


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_command_and_the_next_one_goes_on(
    case: Case, undisturbed: Store, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    for spared in ("kill-once", "no-kill"):
        (tmp_path / "f" / spared).touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    path = f"{Path(__file__).parent / 'faulty_bulk'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {"PYTHONPATH": path, "COVPOOL_TEST_FAULTS": str(tmp_path / "f")}
    port = address.rpartition(":")[2]
    code = "import sys; from distributed.cli.dask_scheduler import main; main()"
    scheduler = [sys.executable, "-c", code, "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    code = code.replace("dask_scheduler", "dask_worker")
    worker = [
        sys.executable,
        "-c",
        code,
        address,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--death-timeout",
        "60",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    running = [subprocess.Popen(scheduler, **quiet), subprocess.Popen(worker, **quiet)]  # type: ignore[call-overload]
    try:
        process = case.start("lost", "--scheduler", address, faults=tmp_path / "f")
        wait_for(lambda: (tmp_path / "f" / "sleep-once").exists() and ready(case, "lost") > 0)
        running[0].kill()
        code_, _, err = outcome(process)
        assert code_ == 1, err
        assert "scheduler is lost" in err
    finally:
        for one in running:
            for child in psutil.Process(one.pid).children(recursive=True):
                child.kill()
            one.kill()
            one.wait()
    again = case.run("lost")
    assert again.exit_code == 0, again.output
    assert_same(case, "lost", undisturbed)
