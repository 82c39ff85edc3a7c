"""Long sequences: whoever goes on with one that was cut off ends in the same bits."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from covpool.extractor import Genome, Sequence, read_annotation
from covpool.extractor.adapters.adapter import PART_BASES
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model, describe
from covpool.extractor.models.options import Options
from covpool.service.assemblies.plan import Plan, loci_of, make_plan
from covpool.service.bulk.cluster import Cluster
from covpool.service.bulk.executors import Executor, Local
from covpool.service.bulk.report import Report
from covpool.service.bulk.run import drive, run_plan
from covpool.service.extraction.engine import Engine
from covpool.service.extraction.work import Spec
from covpool.service.processes.faults import StoreFault
from covpool.store import Store
from tests.extractor.golden import checkpoint
from tests.service.running import wait_until
from tests.service.worker.test_worker import working

ROOT = Path(__file__).parents[3]
LAYERS = ("down.2", "transformer.1", "up.6")
CLASSES = ("whole", "CDS", "upstream")
#: Start, length and strand; the first two are longer than a part.
GENES = [(1000, 530_000, "+"), (300_000, 270_000, "-"), (540_000, 3000, "+"), (571_000, 700, "-")]

Contents = dict[str, tuple[int, bytes, bytes]]


@dataclass(frozen=True)
class Case:
    """A genome with giant genes, and a tiny model."""

    directory: Path
    genome: Genome
    model: Model

    def plan(self, store: Store) -> Plan:
        """What is missing in a store."""
        annotation = read_annotation(self.directory / "g.gff3", self.genome.contigs)
        return make_plan(
            store,
            loci_of(annotation, self.genome, flank=100, classes=CLASSES),
            self.genome,
            assembly="giants",
            model=self.model,
            layers=LAYERS,
            options=Options(),
            dtype="float32",
            device="cpu",
        )

    def spec(self, location: Path, **more: Any) -> Spec:
        """Of workers that put into it."""
        named = str(self.model.checkpoint.directory)
        return Spec(str(location), None, named, self.model.weights, device="cpu", **more)

    def run(self, location: Path, start: Callable[[Spec], Executor], **more: Any) -> tuple[Report, Contents]:
        """Compute what is missing, and read all there is."""
        with Store.open(location) as store:
            spec = self.spec(location, **more)
            report = run_plan(self.plan(store), store, str(location), partial(start, spec))
            return report, contents(store)


def contents(store: Store) -> Contents:
    stored = {entry.key: store.get(entry.key) for entry in store.catalog.entries()}
    return {key: (one.count, one.mean.tobytes(), one.second_moment.tobytes()) for key, one in stored.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    directory = tmp_path_factory.mktemp("giants")
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 572_000))
    (directory / "g.fa").write_text(f">c\n{bases}\n")
    lines = ["##gff-version 3"]
    for number, (start, length, strand) in enumerate(GENES):
        rows = [("gene", "ID", start, length), ("CDS", "Parent", start + length // 3, length // 2)]
        lines += [
            f"c\tt\t{kind}\t{begin + 1}\t{begin + size}\t.\t{strand}\t{0 if kind == 'CDS' else '.'}\t"
            f"{attribute}=g{number}"
            for kind, attribute, begin, size in rows
        ]
    (directory / "g.gff3").write_text("\n".join(lines) + "\n")
    with Genome(directory / "g.fa") as genome:
        yield Case(directory, genome, describe(str(checkpoint(directory / "tiny"))))


@pytest.fixture(scope="module")
def undisturbed(case: Case) -> Contents:
    """Everything, in one process."""
    report, result = case.run(case.directory / "undisturbed", Local)
    assert (report.done, report.failed) == (len(GENES), {})
    assert len(result) == len(GENES) * len(LAYERS) * len(CLASSES)
    return result


@pytest.mark.slow
def test_a_cluster_gives_the_bits_of_one_process(case: Case, undisturbed: Contents) -> None:
    report, result = case.run(case.directory / "cluster", partial(Cluster, workers=2))
    assert (report.done, report.failed) == (len(GENES), {})
    assert result == undisturbed


def computing() -> psutil.Process:
    """The child that computes for this process."""
    (found,) = [
        child
        for child in psutil.Process().children()
        if "covpool.service.extraction.engine_program" in child.cmdline()
    ]
    return found


def test_a_run_whose_process_is_killed_in_a_long_sequence_goes_on_with_what_was_kept(
    case: Case, undisturbed: Contents, tmp_path: Path
) -> None:
    kept: list[int] = []

    def kill() -> None:
        wait_until(lambda: any((tmp_path / "partials").glob("*[0-9a-f]")), "sums to be kept")
        computing().kill()
        kept.append(len(list((tmp_path / "partials").iterdir())))

    def start(spec: Spec) -> Executor:
        found = Local(spec)
        threading.Thread(target=kill, daemon=True).start()
        return found

    report, found = case.run(tmp_path, start, keep_s=0.0)
    assert kept[0] > 0
    assert (report.done, report.failed) == (len(GENES), {})
    assert found == undisturbed
    assert not list((tmp_path / "partials").iterdir())


def test_a_catalog_that_refuses_ends_the_run_and_is_blamed_on_no_gene(case: Case, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        plan = case.plan(store)
        work = plan.work(plan.packs()[-1])
    with pytest.raises(StoreFault, match="entries"), Local(case.spec(tmp_path)) as executor:
        with sqlite3.connect(tmp_path / "catalog.sqlite") as database:
            database.execute("ALTER TABLE entries RENAME TO gone")
        database.close()
        drive([work], executor, lambda work, outcome: pytest.fail(str(outcome)))


class _StoppedError(Exception):
    pass


def test_an_engine_goes_on_with_a_long_sequence(case: Case, tmp_path: Path) -> None:
    bases = case.genome.sequence("c", 0, 3 * PART_BASES // 2, "+", name="long").bases

    def moments(store: Store, stop_at: int | None = None) -> tuple[list[int], Contents]:
        told: list[int] = []

        def progress(tokens: int) -> None:
            told.append(tokens)
            if stop_at is not None and sum(told) >= stop_at:
                raise _StoppedError

        engine = Engine(store, device="cpu", checkpoint_s=0)
        workload = Workload.of(Sequence("long", bases), [case.model.recipe("up.6")])
        for _, found in engine.moments(case.model, [workload], progress=progress):
            store.put_many(found.items())
        return told, contents(store)

    with Store.open(tmp_path / "undisturbed") as store:
        _, expected = moments(store)
    with Store.open(tmp_path / "stopped") as store:
        with pytest.raises(_StoppedError):
            moments(store, PART_BASES + 50_000)
        assert len(list((tmp_path / "stopped" / "partials").iterdir())) == 1
        told, found = moments(store)
        assert told[0] == PART_BASES
        assert sum(told) == len(bases)
        assert found == expected
        assert not list((tmp_path / "stopped" / "partials").iterdir())


@pytest.mark.slow
def test_a_long_sequence_whose_process_is_killed_is_done_by_the_next(case: Case, tmp_path: Path) -> None:
    bases = case.genome.sequence("c", 0, 560_000, "+", name="long").bases
    with working(tmp_path, keep_s="0", lease_s="2") as bench:
        job = bench.submit(bases)
        partials = tmp_path / "store" / "partials"
        wait_until(lambda: any(partials.glob("*[0-9a-f]")), "sums to be kept")
        bench.child().kill()
        assert bench.end(job) == {bases: ("done", None)}
        (stored,) = contents(bench.store).values()
    assert stored[0] == 560_000 // 16
