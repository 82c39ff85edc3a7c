"""The FASTA that was registered is the FASTA that is read: no gene's name goes with other bases."""

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from covpool.extractor import Genome, describe, read_annotation
from covpool.extractor.errors import GenomeFileError
from covpool.extractor.models.options import Options
from covpool.extractor.sequences import genome as genome_module
from covpool.service.assemblies.plan import Plan, loci_of, make_plan
from covpool.service.assemblies.registry import Genomes
from covpool.service.bulk.executors import Executor, Local
from covpool.service.bulk.run import run_plan
from covpool.service.extraction.work import Spec
from covpool.store import Store
from tests.service.in_process import in_process

GENES = 9


def text(seed: int) -> str:
    """One contig, as long as every other."""
    bases = "".join(random.Random(seed).choices("ACGT", k=1000))
    return ">c\n" + "\n".join(bases[at : at + 60] for at in range(0, 1000, 60)) + "\n"


def in_place(path: Path, data: str) -> None:
    with path.open("r+") as file:
        file.write(data)


def by_rename(path: Path, data: str) -> None:
    path.with_suffix(".new").write_text(data)
    path.with_suffix(".new").replace(path)


def with_its_time_kept(path: Path, data: str) -> None:
    before = path.stat()
    in_place(path, data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


HOW = pytest.mark.parametrize("replace", [in_place, by_rename, with_its_time_kept])


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "g.fa"
    path.write_text(text(0))
    lines = [f"c\t{100 * n}\t{100 * n + 80}\tg{n}\t0\t{'+-'[n % 2]}\n" for n in range(GENES)]
    (tmp_path / "g.bed").write_text("".join(lines))
    return path


@pytest.fixture
def api(tmp_path: Path, fasta: Path) -> Iterator[TestClient]:
    with Store.open(tmp_path / "s") as store:
        Genomes(store.database).add("a", fasta, tmp_path / "g.bed")
    with in_process(tmp_path / "s") as client:
        yield client


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a file changes within one tick of the clock: nothing shows but its bases."""
    monkeypatch.setattr(genome_module, "_state", lambda status: ())


def answers(api: TestClient) -> list[tuple[int, str]]:
    """To requests for every gene by name, alone and together, and for all of the assembly."""
    names = [f"g{n}" for n in range(GENES)]
    genes: list[dict[str, Any]] = [{"gene": name} for name in (*names, names)]
    asked = [("/v1/jobs", {"assembly": "a"} | gene) for gene in genes]
    asked += [("/v1/genomes", {"assembly": "a"}), ("/v1/genomes", {"assembly": "a", "flank": 7})]
    result = [api.post(path, json=body) for path, body in asked]
    return [(one.status_code, one.json().get("detail", "")) for one in result]


@HOW
def test_a_file_changed_under_an_open_service_serves_no_gene(
    api: TestClient, fasta: Path, replace: Callable[[Path, str], None]
) -> None:
    assert {status for status, _ in answers(api)} <= {200, 202}
    replace(fasta, text(1))
    assert {status for status, _ in answers(api)} == {503}
    region = api.post("/v1/jobs", json={"assembly": "a", "region": "c:0-50"})
    assert (region.status_code, "register it again" in region.json()["detail"]) == (503, True)
    # What was registered is back.
    replace(fasta, text(0))
    assert {status for status, _ in answers(api)} <= {200, 202}


def test_a_file_that_was_only_touched_is_served_on(api: TestClient, fasta: Path) -> None:
    assert {status for status, _ in answers(api)} <= {200, 202}
    touched: list[Callable[[Path], object]] = [
        os.utime,
        partial(Path.chmod, mode=0o600),
        partial(by_rename, data=text(0)),
    ]
    for touch in touched:
        time.sleep(0.01)
        touch(fasta)
        assert {status for status, _ in answers(api)} <= {200, 202}


@pytest.mark.usefixtures("blind")
def test_a_gene_of_other_bases_is_refused_where_nothing_else_shows(api: TestClient, fasta: Path) -> None:
    assert {status for status, _ in answers(api)} <= {200, 202}
    in_place(fasta, text(1))
    result = answers(api)
    assert all(status in (422, 503) and "register it again" in notices for status, notices in result), result


def planned(store: Store, genome: Genome, bed: Path) -> Plan:
    model = describe("ntv3-mini")
    loci = loci_of(read_annotation(bed, genome.contigs), genome, flank=0, classes=["whole"])
    return make_plan(store, loci, genome, assembly="x", model=model, layers=(model.layer().name,),
                     options=Options(), dtype="float32", device="cpu")  # fmt: skip


@pytest.mark.parametrize("shows", [True, False])
def test_a_file_changed_under_a_bulk_run_gives_no_name_other_bases(
    tmp_path: Path, fasta: Path, shows: bool, request: pytest.FixtureRequest
) -> None:
    if not shows:
        request.getfixturevalue("blind")
    location = tmp_path / "bulk"
    with Store.open(location) as store, Genome(fasta) as genome:
        plan = planned(store, genome, tmp_path / "g.bed")
        keys = {item.workload.digest for item in plan.items}
        spec = Spec(str(location), None, "ntv3-mini", plan.model.weights, device="cpu")

        def start() -> Executor:
            result = Local(spec)
            in_place(fasta, text(1))
            return result

        report = run_plan(plan, store, str(location), start)
        assert (report.done, len(report.failed)) == (0, GENES)
        assert all("changed" in why for why in report.failed.values())
        assert len(store) == 0
        in_place(fasta, text(0))
        report = run_plan(plan, store, str(location), partial(Local, spec))
        assert (report.done, {key.sequence for key in list(store.keys())}) == (GENES, keys)


@HOW
def test_an_open_genome_reads_what_was_opened_or_nothing(
    fasta: Path, replace: Callable[[Path, str], None]
) -> None:
    with Genome(fasta) as genome:
        before = genome.sequence("c", 10, 70, name="x").bases
        replace(fasta, text(2))
        assert genome.has_changed
        if replace is by_rename:
            # The file that was opened is still there for it.
            assert genome.sequence("c", 10, 70, name="x").bases == before
        else:
            for _ in range(2):
                with pytest.raises(GenomeFileError, match="has changed since it was opened"):
                    genome.sequence("c", 10, 70, name="x")
        replace(fasta, text(0))
        assert genome.sequence("c", 10, 70, name="x").bases == before
