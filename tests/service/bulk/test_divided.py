"""Long sequences: several workers share one, and whoever goes on with one ends in the same bits."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from covpool.extractor import Genome, Sequence, read_annotation
from covpool.extractor.extraction.parts import PART_BASES, Step
from covpool.extractor.models.models import Model, describe
from covpool.extractor.models.options import Options
from covpool.service.assemblies.plan import Plan, loci_of, make_plan
from covpool.service.bulk.cluster import Cluster, EnginePlugin
from covpool.service.bulk.divided import is_giant
from covpool.service.bulk.executors import Executor
from covpool.service.bulk.one_process import OneProcess
from covpool.service.bulk.report import Report
from covpool.service.bulk.run import run_plan
from covpool.service.extraction.engine import Engine
from covpool.service.extraction.tasks import Extraction
from covpool.service.extraction.work import Died, Outcome, Spec, Work
from covpool.store import CatalogError, Store
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
        return Spec(str(location), None, named, self.model.weights, LAYERS, Options(), device="cpu", **more)

    def run(self, location: Path, start: Callable[[Spec], Executor]) -> tuple[Report, Contents]:
        """Compute what is missing, and read all there is."""
        with Store.open(location) as store:
            report = run_plan(self.plan(store), store, str(location), partial(start, self.spec(location)))
            return report, contents(store)


def contents(store: Store) -> Contents:
    found = {entry.key: store.get(entry.key) for entry in store.catalog.entries()}
    return {key: (one.count, one.mean.tobytes(), one.second_moment.tobytes()) for key, one in found.items()}


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
def undivided(case: Case) -> Contents:
    """Everything, in one process."""
    report, found = case.run(case.directory / "undivided", OneProcess)
    assert (report.done, report.failed) == (len(GENES), {})
    assert len(found) == len(GENES) * len(LAYERS) * len(CLASSES)
    return found


class RecordingPlugin(EnginePlugin):
    """The real engine, which writes down what it ran; `kill` in the store's name kills one at a step."""

    def setup(self, worker: Any) -> None:
        """Load it, and keep a diary beside the store."""
        super().setup(worker)
        run, diary = self.engine.run, Path(f"{self.spec.store}.diary")
        diary.mkdir(exist_ok=True)

        def recorded(work: Work) -> Outcome:
            if "kill" in self.spec.store and work.step is not None and work.step.stage == "decode":
                flag = diary / "killed"
                if not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            with (diary / str(os.getpid())).open("a") as file:
                file.write(f"{work.key}\n")
            return run(work)

        self.engine.run = recorded  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared", "kill"])
def test_workers_share_a_giant_and_give_the_bits_of_one_process(
    case: Case, undivided: Contents, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers load the plugin from here.
    monkeypatch.syspath_prepend(str(ROOT))
    location = case.directory / name
    report, found = case.run(location, partial(Cluster, workers=2, plugin=RecordingPlugin))
    assert (report.done, report.failed) == (len(GENES), {})
    assert found == undivided
    assert not list((location / "partials").iterdir()), "what steps left is gone"
    diary = Path(f"{location}.diary")
    workers = [file.read_text().splitlines() for file in sorted(diary.iterdir()) if file.name != "killed"]
    assert (diary / "killed").exists() == (name == "kill")
    shared = [sum("-encode-" in line or "-decode-" in line for line in lines) for lines in workers]
    assert sorted(shared)[-2] >= 1, f"two took steps: {shared}"
    assert sum(shared) >= 2 * (3 + 2)


class Inline:
    """The real engine in this process, which claims to be two workers; `fails` makes one step fail."""

    workers = room = 2

    def __init__(self, spec: Spec, fails: Step | None = None) -> None:
        self._engine, self._fails = Engine(spec), fails
        self._submitted: list[Work] = []

    def submit(self, work: Work) -> None:
        """Remember it."""
        self._submitted.append(work)

    def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
        """Run the oldest."""
        work = self._submitted.pop(0)
        failed = self._fails is not None and work.step == self._fails
        yield work, Outcome({work.members[0].index: "no luck"}, (), 0.0) if failed else self._engine.run(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.close()


@pytest.mark.parametrize("stage", ["encode", "decode"])
def test_a_step_that_fails_fails_its_gene_alone_and_once(
    case: Case, undivided: Contents, tmp_path: Path, stage: str
) -> None:
    step = Step(stage, 0, 2)  # type: ignore[arg-type]
    report, found = case.run(tmp_path, partial(Inline, fails=step))
    # Of the two giants only the first has a third part.
    assert report.failed == {"g0": "no luck"}
    assert report.done == len(GENES) - 1
    assert found.items() < undivided.items()
    report, found = case.run(tmp_path, Inline)
    assert (report.done, report.cached, report.failed) == (1, len(GENES) - 1, {})
    assert found == undivided


def test_a_run_cut_off_between_steps_goes_on_and_mends_what_was_damaged(
    case: Case, undivided: Contents, tmp_path: Path
) -> None:
    ran: list[Step] = []

    class CutOffError(Exception):
        pass

    class CutOff(Inline):
        def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
            found = list(super().settled(timeout))
            ran.extend(work.step for work, _ in found if work.step is not None)
            if ran[-1] == Step("decode", 0, 1):
                raise CutOffError
            return iter(found)

    with pytest.raises(CutOffError):
        case.run(tmp_path, CutOff)
    left = sorted((tmp_path / "partials").iterdir())
    encoded = [file for file in left if ".encoded." in file.name]
    assert len(encoded) == 3 + 2
    for damaged in (encoded[1], next(file for file in left if ".attended." in file.name)):
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    report, found = case.run(tmp_path, Inline)
    assert report.failed == {}
    assert found == undivided
    assert not list((tmp_path / "partials").iterdir())


@pytest.mark.parametrize(
    ("cost", "workers", "expected"),
    [(1.0, 1, False), (0.1, 2, False), (0.13, 2, True), (0.01, 8, False), (0.04, 8, True)],
)
def test_a_sequence_is_divided_when_it_would_keep_its_worker_beyond_the_others(
    cost: float, workers: int, expected: bool
) -> None:
    assert is_giant(cost, 1.0, workers) == expected


def test_a_catalog_that_refuses_ends_the_run_and_is_blamed_on_no_gene(case: Case, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        plan = case.plan(store)
        work = plan.work(plan.packs()[-1])
    with pytest.raises(CatalogError, match="entries"), OneProcess(case.spec(tmp_path)) as executor:
        with sqlite3.connect(tmp_path / "catalog.sqlite") as database:
            database.execute("ALTER TABLE entries RENAME TO gone")
        database.close()
        executor.submit(work)
        for _ in range(60):
            assert list(executor.settled(1.0)) == []


class _StoppedError(Exception):
    pass


def test_a_worker_of_the_queue_goes_on_with_a_long_sequence(case: Case, tmp_path: Path) -> None:
    bases = case.genome.sequence("c", 0, 3 * PART_BASES // 2, "+", name="long").bases
    recipe = case.model.recipe("up.6")

    def moments(store: Store, stop_at: int | None = None) -> tuple[list[int], Contents]:
        told: list[int] = []

        def progress(tokens: int) -> None:
            told.append(tokens)
            if stop_at is not None and sum(told) >= stop_at:
                raise _StoppedError

        extraction = Extraction(store, device="cpu", keep_s=0)
        for key in extraction.run(case.model, recipe, [Sequence("long", bases)], progress=progress):
            assert key in store
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
        (found,) = contents(bench.store).values()
    assert found[0] == 560_000 // 16
