"""Cluster: bulk work on Dask, on this machine or with a scheduler on another.

Each device has one worker process with two threads (see `executors.LANES`). Priority is the cost: longest
first. There are no resource annotations, which would pin tasks to workers on submission. Tasks return keys,
never matrices, so the scheduler holds nothing that could be lost.
"""

import logging
import time
from concurrent.futures import CancelledError
from contextlib import ExitStack
from typing import Any, Self
from uuid import uuid4

import dask
from distributed import Client, LocalCluster, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from covpool.service.bulk.executors import AHEAD, LANES, Runner
from covpool.service.errors import BulkError
from covpool.service.extraction.work import Outcome, Spec, Work
from covpool.service.processes.faults import UnforeseenFault
from covpool.store.values.keys import sha256

log = logging.getLogger(__name__)

#: Seconds to wait for the first worker of a cluster.
WAIT_S = 60
#: Seconds to wait for a finished answer; longer means that its worker has died.
ANSWER_S = 2
#: Seconds without any worker after which a run gives up; batch systems start workers late.
NO_WORKER_S = 600
#: Times that a task is tried again after an exception, such as a short outage of the database.
RETRIES = 2

#: For a cluster on this machine: deaths allowed per task, and seconds for a worker to come back.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.deploy.lost-worker-timeout": NO_WORKER_S,
}


class RunnerPlugin(WorkerPlugin):
    """Starts a runner when a worker starts."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        # Runs of different specs may share a cluster.
        self.name = f"covpool-{sha256(repr(spec))[:16]}"

    def setup(self, worker: Any) -> None:
        """Load the model, open the store."""
        self.runner = Runner(self.spec)

    def teardown(self, worker: Any) -> None:
        """End the child, release the store."""
        self.runner.stop()
        self.runner.close()


def run_on_worker(name: str, work: Work) -> Outcome:
    """Runs work on a worker that has the plugin of this name."""
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, RunnerPlugin)
    return plugin.runner.run(work)


class Cluster:
    """Runs work on the workers of a Dask scheduler.

    Args:
        spec: spec of the run.
        scheduler: address of the scheduler; None starts a cluster on this machine.
        workers: number of workers of the cluster on this machine.
        plugin: plugin that the workers load.

    Raises:
        BulkError: the scheduler cannot be reached, or no worker comes.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        scheduler: str | None = None,
        workers: int = 1,
        plugin: type[RunnerPlugin] = RunnerPlugin,
    ) -> None:
        loading = plugin(spec)
        self._name = loading.name
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
                        # A free port on the loopback interface; None would take 8787 on every interface.
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                )
            try:
                self._client = opening.enter_context(Client(address))  # type: ignore[no-untyped-call]
                self._client.wait_for_workers(1, timeout=WAIT_S)
                self._client.register_plugin(loading)
            except (OSError, TimeoutError) as error:
                where = scheduler or "this machine"
                raise BulkError(_UNREACHED.format(where=where, error=error)) from error
            self._open = opening.pop_all()
        self._under_way: set[Any] = set()
        self._seen_worker = time.monotonic()
        self._looked, self._workers = 0.0, 0

    @property
    def room(self) -> int:
        """See `Executor.room`."""
        return AHEAD * max(1, self._count())

    def submit(self, work: Work) -> Any:
        """See `Executor.submit`."""
        key = f"covpool-{uuid4().hex}"
        future = self._client.submit(
            run_on_worker, self._name, work, key=key, pure=False, retries=RETRIES, priority=work.cost
        )
        self._under_way.add(future)
        return future

    def outcome(self, future: Any) -> Outcome | None:
        """See `Executor.outcome`."""
        self._under_way.discard(future)
        try:
            outcome: Outcome = future.result(timeout=ANSWER_S)
        except KilledWorker as error:
            raise UnforeseenFault("every Dask worker that tried it was killed") from error
        except TimeoutError:
            # The worker that held the answer has died.
            self._under_way.add(future)
            return None
        except (CancelledError, OSError) as error:
            raise BulkError(_LOST) from error
        return outcome

    def check(self) -> None:
        """See `Executor.check`."""
        if self._client.status != "running":
            raise BulkError(_LOST)
        if self._count():
            self._seen_worker = time.monotonic()
        elif time.monotonic() > self._seen_worker + NO_WORKER_S:
            raise BulkError(f"no worker for {NO_WORKER_S} s; start one, then run the same command to go on")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Cancel running work, and end the cluster if this object started it."""
        if self._under_way and self._client.status == "running":
            self._client.cancel(list(self._under_way), force=True)
        try:
            self._open.close()
        except Exception as error:
            # Dask cannot end a worker that is just being restarted. Workers end with this process; their
            # results are in the store, and the report must not be lost.
            log.warning("the cluster did not end cleanly: %s", error)

    def _count(self) -> int:
        """Number of workers, at most a second old."""
        if time.monotonic() > self._looked + 1:
            self._looked = time.monotonic()
            self._workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        return self._workers


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
