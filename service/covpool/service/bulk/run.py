"""Run: a plan through an executor, longest first, under a sliding window, until nothing is missing.

The catalog is the checkpoint: what is ready is never planned again, so the same command goes on with a run
that ended in whatever way.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from covpool.service.assemblies.plan import Plan, names_of
from covpool.service.bulk.divided import Divided, is_giant
from covpool.service.bulk.executors import Executor
from covpool.service.bulk.report import Progress, Report, disk_bytes
from covpool.service.extraction.patience import OutageLines
from covpool.service.extraction.work import Died, Outcome, Work
from covpool.store.store import Store

#: Seconds that a look at the workers waits; also how soon an interrupt is acted on.
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
        store: open here, for names.
        location: of the store, to measure what it grows by.
        start: begins the executor; not called when nothing is missing.
        bar, write: see `Progress`.

    Raises:
        StoreError: the store refused; one that is away, full or read-only is waited for, and `write` told.
        BulkError: the workers are lost. What was cached stays, and the same command goes on.
    """
    report = Report(
        plan.assembly,
        plan.model.name,
        plan.layers,
        tuple(dict.fromkeys(region.name for item in plan.items for region in item.regions)),
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
            run = _Run(plan, report, Progress(plan.cost, bar, write), executor.workers)
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
    settle: Callable[[Work, Outcome | Died], Iterable[Work]],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Run work in the order given, so many pieces under way as the executor has room for.

    Args:
        works: made when their turn comes, so that few sequences are in memory at once.
        executor: runs them.
        settle: takes each result; what it gives back is run next.
        look: called every now and then.

    Raises:
        StoreError, BulkError: as from the executor.
    """
    waiting, again, under_way = iter(works), deque[Work](), 0
    ended = False
    while not ended or again or under_way:
        while under_way < executor.room and (again or not ended):
            work = again.popleft() if again else next(waiting, None)
            if work is None:
                ended = True
            else:
                executor.submit(work)
                under_way += 1
        for work, result in executor.settled(LOOK_S) if under_way else ():
            under_way -= 1
            again.extend(settle(work, result))
        look()


class _Run:
    def __init__(self, plan: Plan, report: Report, progress: Progress, workers: int) -> None:
        self._plan, self._report, self._progress = plan, report, progress
        self._packs = plan.packs()
        # What of each is not counted as done yet.
        self._costs = {index: plan.cost_of(pack) / len(pack) for pack in self._packs for index in pack}
        self._strands = 2 if plan.options.strand == "both" else 1
        self._total, self._workers = plan.cost, workers
        self._divided: dict[int, Divided] = {}

    def works(self) -> Iterator[Work]:
        """All work in its order, as far as it does not wait for other work."""
        plan = self._plan
        for pack in self._packs:
            unread: dict[int, str] = {}
            whole = plan.work(pack, unread)
            for index, error in unread.items():
                self._fail(index, error)
                self._progress.add(self._costs.pop(index), self._report)
            if not whole.members:
                continue
            giant = is_giant(plan.cost_of(pack), self._total, self._workers)
            stages = plan.steps_of(pack[0]) if giant and len(pack) == 1 else []
            if stages:
                self._divided[pack[0]] = Divided(whole, stages)
                yield from self._divided[pack[0]].go_on()
            else:
                yield whole

    def settle(self, work: Work, result: Outcome | Died) -> list[Work]:
        """Count a result; returns what is to run now.

        The members of what killed its worker are run again, each alone; a divided sequence goes on when a
        stage is over.
        """
        if isinstance(result, Died) and len(work.members) > 1:
            return work.split()
        errors = {work.members[0].index: result.reason} if isinstance(result, Died) else result.errors
        if isinstance(result, Outcome):
            self._report.busy_s += result.busy_s
            self._report.matrices += len(result.keys)
        if work.step is not None:
            return self._settle_step(work.members[0].index, errors)
        self._end(work, errors)
        return []

    def _settle_step(self, index: int, errors: Mapping[int, str]) -> list[Work]:
        divided = self._divided[index]
        each = self._plan.cost_of([index]) / divided.steps
        self._costs[index] -= each
        self._progress.add(each, self._report)
        if not divided.settle(errors.get(index)):
            return []
        if divided.error:
            self._end(divided.whole, {index: divided.error})
            return []
        return divided.go_on()

    def _end(self, work: Work, errors: Mapping[int, str]) -> None:
        for member in work.members:
            if member.index in errors:
                self._fail(member.index, errors[member.index])
            else:
                self._report.done += len(self._plan.items[member.index].loci)
                self._report.bases += self._strands * len(member.bases)
        self._progress.add(sum(self._costs.pop(member.index) for member in work.members), self._report)

    def _fail(self, index: int, error: str) -> None:
        self._report.failed |= {one.gene.id: error for one in self._plan.items[index].loci}
