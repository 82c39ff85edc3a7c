"""Bulk runs: makespan over the ideal, idle devices, the price of store and queue, the scheduler's memory.

Schedules run through the real executor and a local Dask cluster, with tasks that sleep in proportion to their
cost (several workers on few cores would otherwise measure the cores). The price is measured in turn with a
bare loop over the same forwards, without store, catalog or queue. The projection is arithmetic, with its
assumptions beside it.
Give the FASTA and annotation of a genome to use its genes (every fourth is scheduled); without, only
synthetic lengths are run.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import torch

from covpool.extractor import Genome, load_adapter
from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.extraction.extract import extract_workloads
from covpool.extractor.extraction.packs import Shape, packs
from covpool.extractor.extraction.selections import Selection
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model, describe
from covpool.extractor.models.options import Options
from covpool.service.assemblies.plan import Locus, Plan, loci_of, make_plan
from covpool.service.bulk.cluster import Cluster, RunnerPlugin
from covpool.service.bulk.executors import Local
from covpool.service.bulk.run import drive, run_plan
from covpool.service.extraction.work import Outcome, Spec, Work
from covpool.store import Store

WORKERS = (1, 2, 4)
#: Seconds that the tasks of a schedule sleep, per worker: about 50 ms each, as packs of `ntv3-mini` take.
SLEEP_S = {"log-normal": 6.0, "genome": 20.0}
SYNTHETIC = 160
SAMPLE = 200
TASKS = 100_000
BARE_ROUNDS = 13


class SleepingPlugin(RunnerPlugin):
    """A worker whose work is to sleep."""

    def setup(self, worker: Any) -> None:
        """Nothing to load."""
        seconds_per_base, turn = float(self.spec.model), threading.Lock()

        def run(work: Work) -> Outcome:
            # A device has one user at a time, as that of the real runner.
            with turn:
                time.sleep(work.cost * seconds_per_base)
            return Outcome({}, 0, work.cost * seconds_per_base)

        self.runner: Any = SimpleNamespace(run=run, stop=lambda: None, close=lambda: None)


def sleeping(workers: int, seconds_per_base: float) -> Cluster:
    """A cluster of workers that sleep."""
    spec = Spec("", None, str(seconds_per_base), "")
    return Cluster(spec, workers=workers, plugin=SleepingPlugin)


def works_of(lengths: list[int], model: Model) -> list[Work]:
    """Work of these lengths, packed and ordered as a plan's."""
    works = []
    for pack in packs(lengths, model, "cpu"):
        shape = Shape.of(model, lengths[pack[0]], "cpu")
        works.append(Work({index: nothing(index) for index in pack}, shape.rows * shape.bases))
    return sorted(works, key=lambda work: -work.cost)


def nothing(index: int) -> Workload:
    """A workload that nobody computes."""
    return Workload(str(index), "", 1, "A", (Selection.whole(1),), ())


def schedules(label: str, lengths: list[int], model: Model) -> None:
    """Makespan over ideal and idle share for each number of workers."""
    works = works_of(lengths, model)
    total = sum(work.cost for work in works)
    for workers in WORKERS:
        seconds_per_base = SLEEP_S[label] * workers / total
        ideal = max(SLEEP_S[label], works[0].cost * seconds_per_base)
        busy: list[float] = []

        def settle(work: Work, outcome: Outcome, busy: list[float] = busy) -> None:
            busy.append(outcome.busy_s)

        with sleeping(workers, seconds_per_base) as cluster:
            begun = time.perf_counter()
            drive(works, cluster, settle)
            spent = time.perf_counter() - begun
        idle = 1 - sum(busy) / (workers * spent)
        print(
            f"{label:10s} {len(works):6,d} {workers:8d} {spent:9.2f} s "
            f"{100 * (spent / ideal - 1):+9.1f} % {100 * idle:7.1f} %"
        )


def price(fasta: Path, annotation: Path, model: Model) -> None:
    """Rate of a run with store, catalog and queue over that of a bare loop over the same forwards.

    Each is in a new process of one thread, so that both meet every shape for the first time, and they take
    turns in going first. Stores stay until the end, so that no round makes its files just after thousands of
    others were deleted.
    """
    with Genome(fasta) as genome, tempfile.TemporaryDirectory() as directory:
        genes = read_annotation(annotation, genome.contigs)
        count = len(genes.genes)
        chosen = set(np.random.default_rng(0).choice(count, min(SAMPLE, count), replace=False).tolist())
        for classes in (("whole",), ("whole", "CDS", "upstream")):
            loci = [
                locus
                for index, locus in enumerate(loci_of(genes, genome, flank=100, classes=classes))
                if index in chosen
            ]
            loops, runs, idle = [], [], []
            for round_ in range(BARE_ROUNDS):
                location = str(Path(directory, f"{len(classes)}.{round_}"))
                with Store.open(location) as store:
                    plan, spec = planned(store, location, loci, genome, model)
                    works = [plan.work(pack) for pack in plan.packs()]
                    if round_ % 2:
                        loops.append(bare(works, model))
                    report = run_plan(plan, store, location, partial(Local, spec))
                    if not round_ % 2:
                        loops.append(bare(works, model))
                    runs.append(report.wall_s)
                    idle.append(1 - report.busy_s / report.wall_s)
            ratios = np.divide(loops, runs)
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            rate = report.bases / min(loops) / 1e3
            print(
                f"{len(classes)} matrices a gene: {middle:.2f} of the bare loop's {rate:.0f} kb/s (median of "
                f"{BARE_ROUNDS} pairs, half of them from {low:.2f} to {high:.2f}; of the sums "
                f"{sum(loops) / sum(runs):.2f}); worker idle {100 * np.median(idle):.1f} %"
            )


def planned(
    store: Store, location: str, loci: list[Locus], genome: Genome, model: Model
) -> tuple[Plan, Spec]:
    """The plan of these loci at the default layer, and what its workers need to know."""
    options = Options(beyond_context=True)
    plan = make_plan(
        store,
        loci,
        genome,
        assembly="bench",
        model=model,
        layers=(model.default_layer,),
        options=options,
        dtype="float32",
        device="cpu",
    )
    return plan, Spec(location, None, model.name, model.weights, device="cpu")


def bare(works: list[Work], model: Model) -> float:
    """Seconds of the bare loop, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_bare, works, model.name).result()


def _bare(works: list[Work], model: str) -> float:
    torch.set_num_threads(1)
    adapter = load_adapter(model, device="cpu")
    begun = time.perf_counter()
    for work in works:
        extract_workloads(adapter, list(work.workloads.values()))
    return time.perf_counter() - begun


def scheduler_memory(tasks: int) -> None:
    """Growth of the process that holds the scheduler, over so many tasks through the window."""

    def works() -> Iterator[Work]:
        for index in range(tasks):
            yield Work({index: nothing(index)}, 1)

    process = psutil.Process(os.getpid())
    with sleeping(2, 0.0) as cluster:
        before, begun, most, done = process.memory_info().rss, time.perf_counter(), 0, 0

        def settle(work: Work, outcome: Outcome) -> None:
            nonlocal most, done
            done += 1
            if done % 500 == 0:
                most = max(most, process.memory_info().rss)

        drive(works(), cluster, settle)
        spent = time.perf_counter() - begun
    print(
        f"{tasks:,} tasks: {(most - before) / 1e6:+.0f} MB at most in the process with scheduler and client, "
        f"{tasks / spent:.0f} tasks/s"
    )


def projection() -> None:
    """1,000 genomes x 5 layers, from assumptions that are printed."""
    genomes, layers, genes, bases, width = 1_000, 5, 20_000, 1.3e9, 1536
    devices, rate = 64, 100e3
    matrix = 4 * (width * (width + 1) // 2 + width) * 0.85
    forwards = genomes * genes
    print(
        f"assumed: {genomes:,} genomes of {genes:,} genes and {bases / 1e9:.1f} Gb in genes, {layers} layers "
        f"of width {width} in one forward,\n{devices} devices of {rate / 1e3:.0f} kb/s each (not measured), "
        "lossless float32 at 0.85 of its size, whole genes only"
    )
    seconds = genomes * bases / rate
    print(
        f"device time {seconds / 86400 / 365:.1f} years, {seconds / devices / 86400:.0f} days on {devices}; "
        f"{forwards / 1e6:.0f} M forwards, {forwards / (seconds / devices):.1f} a second over all devices;\n"
        f"{forwards * layers / 1e6:.0f} M matrices, {forwards * layers * matrix / 1e12:.0f} TB, in stores of "
        "50 genomes (a layer of a store holds a million rows)"
    )


def main() -> None:
    """Print the tables."""
    model = describe("ntv3-mini")
    rng = np.random.default_rng(0)
    print("tasks that sleep, longest first; ideal = all sleep / workers, or the longest task")
    print("lengths     tasks  workers   makespan  over ideal    idle")
    synthetic = [int(x) for x in np.exp(rng.normal(np.log(18_000), 1.2, SYNTHETIC))]
    schedules("log-normal", synthetic, model)
    if len(sys.argv) > 2:
        fasta, annotation = map(Path, sys.argv[1:3])
        with Genome(fasta) as genome:
            found = read_annotation(annotation, genome.contigs)
            lengths = [len(locus) for locus in loci_of(found, genome, flank=100, classes=("whole",))]
        schedules("genome", lengths[::4], model)
        print()
        price(fasta, annotation, model)
    print()
    scheduler_memory(int(sys.argv[3]) if len(sys.argv) > 3 else TASKS)
    print()
    projection()


if __name__ == "__main__":
    main()
