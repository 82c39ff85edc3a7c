"""Run: sends a plan to an executor, longest first, in a sliding window, until nothing is missing.

The catalog is the checkpoint: ready results are never planned again, so the same command continues a run
that ended in any way.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from covpool.service.assemblies.plan import Plan, names_of
from covpool.service.bulk.executors import Executor
from covpool.service.bulk.report import Progress, Report, disk_bytes
from covpool.service.extraction.patience import OutageLines
from covpool.service.extraction.work import Outcome, Work
from covpool.service.processes.faults import Fault, OutsideFault
from covpool.service.processes.isolation import isolate
from covpool.store.store import Store

#: Seconds between two checks of the workers; also the delay of an interrupt.
LOOK_S = 0.5


def run_plan(
    plan: Plan,
    store: Store,
    location: str,
    start: Callable[[], Executor],
    *,
    bar: Callable[[float, str], None] | None = None,
    write: Callable[[str], None] = lambda line: None,
) -> Report:
    """Compute what a plan lacks, name every gene, and report.

    Args:
        plan: see `make_plan`.
        store: the store, open in this process for names.
        location: location of the store, to measure its growth.
        start: starts the executor; not called when nothing is missing.
        bar, write: see `Progress`.

    Raises:
        StoreError: the store refused. During an outage the run waits, and reports it by `write`.
        OutsideFault, BulkError: the workers are lost. Cached results stay; the same command continues.
    """
    report = Report(
        plan.assembly,
        plan.model.name,
        plan.layers,
        tuple(dict.fromkeys(selection.name for item in plan.items for selection in item.workload.selections)),
        genes=plan.genes + len(plan.refused),
        cached=sum(len(item.loci) for index, item in enumerate(plan.items) if index not in plan.missing),
        failed=dict(plan.refused),
    )
    before = disk_bytes(location) if plan.missing else None
    store.names.add(names_of(plan))
    if not plan.missing:
        return report
    try:
        with start() as executor:
            begun = time.perf_counter()
            run = _Run(plan, report, Progress(plan.cost, bar, write))
            try:
                outages = OutageLines(store, write)
                drive(run.works(), executor, run.settle, outages.look)
                outages.end()
            finally:
                report.wall_s = time.perf_counter() - begun
    except KeyboardInterrupt:
        report.interrupted = True
    after = disk_bytes(location)
    report.disk_bytes = None if before is None or after is None else after - before
    return report


def drive(
    works: Iterable[Work],
    executor: Executor,
    settle: Callable[[Work, Outcome], None],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Run work in order, as many pieces at a time as the executor has room for.

    When a worker dies, an executor may blame all work that it was given, running or not. Blamed work is
    therefore only suspected, and run again at the end with nothing else under way.

    Args:
        works: pieces of work; each is made on demand, so that few sequences are in memory at once.
        executor: runs the work.
        settle: called with each result.
        look: called from time to time.

    Raises:
        StoreError, OutsideFault, BulkError: as from the executor.
    """
    waiting: Iterator[Work | None] = iter(works)
    under_way: dict[Any, Work] = {}
    ended: SimpleQueue[Any] = SimpleQueue()
    suspected: list[Work] = []
    work: Work | None = None
    while True:
        while len(under_way) < executor.room and (work := next(waiting, None)) is not None:
            future = executor.submit(work)
            under_way[future] = work
            future.add_done_callback(ended.put)
        if not under_way:
            break
        with suppress(Empty):
            future = ended.get(timeout=LOOK_S)
            try:
                outcome = executor.outcome(future)
            except OutsideFault:
                raise
            except Fault:
                suspected.append(under_way.pop(future))
            else:
                if outcome is None:
                    future.add_done_callback(ended.put)
                else:
                    settle(under_way.pop(future), outcome)
        executor.check()
        look()
    for work in suspected:
        settle(work, _isolated(work, executor))


def _isolated(work: Work, executor: Executor) -> Outcome:
    """The result of work that runs with nothing else under way."""
    outcomes: list[Outcome] = []

    def rerun(indices: list[int], share: float) -> list[int]:
        workloads = {index: work.workloads[index] for index in indices}
        future = executor.submit(Work(workloads, work.cost))
        while (outcome := executor.outcome(future)) is None:
            executor.check()
        outcomes.append(outcome)
        return indices

    blamed = {index: str(fault) for index, fault in isolate(work.workloads, rerun) if fault is not None}
    return Outcome(
        blamed | {index: error for outcome in outcomes for index, error in outcome.errors.items()},
        sum(outcome.matrices for outcome in outcomes),
        sum(outcome.busy_s for outcome in outcomes),
    )


class _Run:
    def __init__(self, plan: Plan, report: Report, progress: Progress) -> None:
        self._plan, self._report, self._progress = plan, report, progress
        self._packs = plan.packs()
        # Cost of each item that is not counted as done yet.
        self._costs = {index: plan.cost_of(pack) / len(pack) for pack in self._packs for index in pack}
        self._strands = 2 if plan.recipes[0].strand == "both" else 1

    def works(self) -> Iterator[Work]:
        """All work, in order."""
        for pack in self._packs:
            unread: dict[int, str] = {}
            work = self._plan.work(pack, unread)
            for index, error in unread.items():
                self._end(index, 0, error)
            if work.workloads:
                yield work

    def settle(self, work: Work, outcome: Outcome) -> None:
        """Count a result."""
        self._report.busy_s += outcome.busy_s
        self._report.matrices += outcome.matrices
        for index, workload in work.workloads.items():
            self._end(index, workload.length, outcome.errors.get(index))

    def _end(self, index: int, bases: int, error: str | None) -> None:
        loci = self._plan.items[index].loci
        if error is None:
            self._report.done += len(loci)
            self._report.bases += self._strands * bases
        else:
            self._report.failed |= {locus.gene.id: error for locus in loci}
        self._progress.add(self._costs.pop(index), self._report)
