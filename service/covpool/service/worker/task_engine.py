"""Task engine: runs leased tasks in the engine process; results go into the store as each task ends."""

import logging
from collections.abc import Collection, Iterator
from contextlib import closing

from sqlalchemy.engine import Connection

from covpool.service.errors import LeaseLostError
from covpool.service.extraction.engine_process import Device, EngineProcess
from covpool.service.extraction.patience import Row
from covpool.service.processes.faults import Fault, OutageFault, fault_of
from covpool.service.queue import Task
from covpool.service.queue.leases import finish_task
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.store.outages import is_outage
from covpool.store.store import Store

log = logging.getLogger(__name__)


class TaskEngine:
    """Runs tasks in a child process, which is started on demand and again after its death.

    Args:
        worker: the name under which tasks are leased.
        settings: of the service.
        store: where results go.
        served: the models that can be run.
    """

    def __init__(self, worker: str, settings: Settings, store: Store, served: Served) -> None:
        self._worker, self._store, self._served = worker, store, served
        self._engine = EngineProcess(settings)
        # Of the current run: unfinished tasks by index, tokens of finished ones, ids of dropped ones.
        self._left: dict[int, Task] = {}
        self._ended = 0
        self._dropped: set[str] = set()

    @property
    def device(self) -> Device:
        """The device as the process last reported it."""
        return self._engine.device

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens done by each task of the current run, by id."""
        spread, progress = max(0, self._engine.tokens - self._ended), {}
        # The longest tasks run first, so the tokens belong to them.
        for task in sorted(self._left.copy().values(), key=lambda task: -task.cost):
            progress[task.id] = min(task.cost, spread)
            spread -= progress[task.id]
        return progress

    def start(self) -> None:
        """Start the process unless it runs."""
        self._engine.start()

    def run(self, tasks: list[Task], share: float) -> Iterator[tuple[Task, bool]]:
        """See `Engine.run`; the tasks share recipe and layers."""
        self._left, self._ended, self._dropped = dict(enumerate(tasks)), 0, set()
        try:
            workloads = [task.workload for task in tasks]
            model = self._served.model(workloads[0].recipes[0].model)
            with closing(self._engine.run(model, workloads, share)) as computed:
                for index, rows in computed:
                    task = self._left[index]
                    done = self._end(task, rows)
                    del self._left[index]
                    self._ended += task.cost
                    yield task, done
            # The run was stopped: the remaining tasks were dropped.
            while self._left:
                yield self._left.popitem()[1], False
        except Fault:
            raise
        except Exception as error:
            raise (OutageFault(str(error)) if is_outage(error) else fault_of(error)) from error
        finally:
            self._left = {}

    def drop(self, tasks: Collection[str]) -> None:
        """Do not cache these tasks; stop the run when no others are left."""
        self._dropped.update(tasks)
        left = {task.id for task in self._left.copy().values()}
        if left and left <= self._dropped:
            self._engine.stop()

    def kill(self) -> None:
        """End the process at once."""
        self._engine.kill()

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._engine.close()

    def _end(self, task: Task, rows: list[Row]) -> bool:
        """Cache a task's moments and end it, in one transaction; False if it was dropped."""

        def ending(connection: Connection) -> None:
            finish_task(connection, task.id, self._worker)

        if task.id in self._dropped:
            return False
        try:
            # Results that another worker made ready may be in use: they are not overwritten.
            self._store.put_many((row for row in rows if row[0] not in self._store), on_commit=ending)
        except LeaseLostError as lost:
            log.info("%s", lost)
            return False
        return True
