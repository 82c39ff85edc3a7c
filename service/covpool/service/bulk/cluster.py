"""Cluster: bulk work on Dask, on this machine or behind a scheduler that runs elsewhere.

One worker process per device, with one thread to compute and one to put. Priority is the cost: longest
first. No resource annotations: they would pin tasks to workers when they are submitted. Tasks return keys,
never matrices, and write what they compute into the store themselves, so that the scheduler holds nothing
that could be lost.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import dask
from distributed import Client, LocalCluster, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from covpool.service.bulk.executors import AHEAD
from covpool.service.errors import BulkError
from covpool.service.extraction.work import Died, Outcome, Spec, Work
from covpool.store.values.keys import sha256

log = logging.getLogger(__name__)

#: Threads of a worker: one computes, the other puts what was computed into the store.
LANES = 2
#: Seconds to wait for the first worker of a cluster.
WAIT_S = 60
#: Seconds to wait for an answer that is there, unless its worker has died since.
ANSWER_S = 2
#: Seconds without any worker after which a run gives up; schedulers of batch systems start them late.
NO_WORKER_S = 600
#: Times that a task is tried again after an exception (a database that was away for a moment).
RETRIES = 2

#: Of a cluster on this machine: deaths that a task is forgiven, and how long a worker may take to come back.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.deploy.lost-worker-timeout": NO_WORKER_S,
}


class EnginePlugin(WorkerPlugin):
    """Loads model and store when a worker starts, once."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.name = engine_name(spec)

    def setup(self, worker: Any) -> None:
        """Load them."""
        from covpool.service.extraction.engine import Engine

        self.engine = Engine(self.spec)

    def teardown(self, worker: Any) -> None:
        """Release the store."""
        self.engine.close()


def engine_name(spec: Spec) -> str:
    """Name of the plugin of a spec: runs of different specs may share a cluster."""
    return f"covpool-{sha256(repr(spec))[:16]}"


def run_on_worker(name: str, work: Work) -> Outcome:
    """The task: runs where the plugin of this name is."""
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, EnginePlugin)
    return plugin.engine.run(work)


class Cluster:
    """Runs work on the workers of a Dask scheduler.

    Dask blames the death of a worker on every task it had been given, running or not. So what it gives up is
    only suspected, and tried again with nothing else under way: what kills then is guilty.

    Args:
        spec: of the run.
        scheduler: its address; None starts a cluster on this machine.
        workers: of the cluster on this machine.
        plugin: what workers load.

    Raises:
        BulkError: the scheduler cannot be reached, or no worker comes.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        scheduler: str | None = None,
        workers: int = 1,
        plugin: type[EnginePlugin] = EnginePlugin,
    ) -> None:
        self._name = engine_name(spec)
        self._open = ExitStack()
        with ExitStack() as opening:
            opening.enter_context(dask.config.set(_SETTINGS))
            address: Any = scheduler
            if scheduler is None:
                address = opening.enter_context(
                    LocalCluster(  # type: ignore[no-untyped-call]
                        n_workers=workers,
                        threads_per_worker=LANES,
                        memory_limit=0,
                        # Any free port of this machine alone; None would take 8787 on every interface.
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                )
            try:
                self._client = opening.enter_context(Client(address))  # type: ignore[no-untyped-call]
                self._client.wait_for_workers(1, timeout=WAIT_S)
                self._client.register_plugin(plugin(spec))
            except (OSError, TimeoutError) as error:
                where = scheduler or "this machine"
                raise BulkError(_UNREACHED.format(where=where, error=error)) from error
            self._open = opening.pop_all()
        self._work: dict[str, Work] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: set[Any] = set()
        self._suspected: deque[Work] = deque()
        self._alone: Work | None = None
        self._seen_worker = time.monotonic()
        self._looked, self._workers = 0.0, 0

    @property
    def workers(self) -> int:
        """Workers there were within the last second."""
        if time.monotonic() > self._looked + 1:
            self._looked = time.monotonic()
            self._workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        return self._workers

    @property
    def room(self) -> int:
        """See `Executor.room`; none beside work that is tried alone."""
        return 0 if self._alone else AHEAD * max(1, self.workers) + len(self._suspected)

    def submit(self, work: Work) -> None:
        """See `Executor.submit`."""
        self._submit(work, work.key)

    def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
        """See `Executor.settled`."""
        if self._suspected and not self._futures:
            self._alone = self._suspected.popleft()
            self._submit(self._alone, f"{self._alone.key}-alone")
        with suppress(queue.Empty):
            yield from self._result(self._ended.get(timeout=timeout))
            while True:
                yield from self._result(self._ended.get_nowait())
        if self._client.status != "running":
            raise BulkError(_LOST)
        if self.workers:
            self._seen_worker = time.monotonic()
        elif time.monotonic() > self._seen_worker + NO_WORKER_S:
            raise BulkError(f"no worker for {NO_WORKER_S} s; start one, then run the same command to go on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up what is under way, and end the cluster if it is ours."""
        if self._futures and self._client.status == "running":
            self._client.cancel(list(self._futures), force=True)
        try:
            self._open.close()
        except Exception as error:
            # Dask fails to end a worker that is being started again just then. Workers end with this process;
            # what they did is in the store, and the report of it must not be lost.
            log.warning("the cluster did not end cleanly: %s", error)

    def _submit(self, work: Work, key: str) -> None:
        self._work[key] = work
        future = self._client.submit(
            run_on_worker, self._name, work, key=key, pure=False, retries=RETRIES, priority=work.cost
        )
        self._futures.add(future)
        future.add_done_callback(self._ended.put)

    def _result(self, future: Any) -> Iterator[tuple[Work, Outcome | Died]]:
        """What became of a task; nothing when it is only suspected, or under way again."""
        work = self._work[future.key]
        result: Outcome | Died | None
        try:
            result = future.result(timeout=ANSWER_S)
        except KilledWorker:
            result = Died("killed every worker that tried it alone") if work is self._alone else None
        except TimeoutError:
            future.add_done_callback(self._ended.put)
            return
        except (CancelledError, OSError) as error:
            raise BulkError(_LOST) from error
        self._futures.discard(future)
        del self._work[future.key]
        if result is None:
            self._suspected.append(work)
            return
        if work is self._alone:
            self._alone = None
        yield work, result


_UNREACHED = (
    "{where}: no Dask scheduler with a worker there ({error}); start `dask scheduler` and "
    "`dask worker --nthreads 2`, or correct the address"
)
_LOST = (
    "the Dask scheduler is lost; what was cached stays: start the cluster again, then run the same command "
    "to go on"
)


def device_of(scheduler: str) -> str:
    """The kind of device that the workers of a scheduler have: "cuda" or "cpu".

    Raises:
        BulkError: the scheduler cannot be reached, or no worker comes.
    """
    try:
        with Client(scheduler) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(1, timeout=WAIT_S)
            return "cuda" if client.submit(_has_cuda, pure=False).result(timeout=WAIT_S) else "cpu"
    except (OSError, TimeoutError) as error:
        raise BulkError(_UNREACHED.format(where=scheduler, error=error)) from error


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
