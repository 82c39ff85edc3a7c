"""Worker: claims tasks, runs them, reports progress; one process, one device.

Started by the supervisor it holds a pipe from its parent as standard input: when the parent is gone, for
whatever reason, the pipe ends and the worker stops after its task.
"""

import logging
import os
import signal
import sys
import threading
import uuid
from types import FrameType

from covpool.extractor.errors import ExtractionError
from covpool.extractor.sequences import Sequence
from covpool.service.offered import Offered
from covpool.service.queue import Queue, Task
from covpool.service.settings import Settings
from covpool.service.tasks import Extraction, every
from covpool.store.zarr_store import Store

log = logging.getLogger(__name__)


class Worker:
    """The claim → extract → cache loop."""

    def __init__(self, settings: Settings, store: Store, *, name: str | None = None) -> None:
        self.name = name or f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._queue = Queue(store.catalog, lease_s=settings.lease_s, max_attempts=settings.max_attempts)
        self._offered = Offered.read(settings.models)
        self._weights = [model.weights for model in self._offered.models.values()]
        self._extraction = Extraction(store, device=settings.device)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Finish the task in hand, then leave `run`."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called."""
        log.info("worker %s is ready", self.name)
        while not self._stop.is_set():
            tasks = self._queue.claim(self.name, self._weights)
            if not tasks:
                self._stop.wait(self._settings.poll_s)
            for task in tasks:
                self.work(task)

    def work(self, task: Task) -> None:
        """Run one claimed task to its end: cached, given back, or failed with its reason."""
        key = task.key.digest
        done = 0

        def progress(tokens: int) -> None:
            nonlocal done
            done += tokens

        def beat() -> None:
            self._queue.heartbeat(self.name, {key: done})

        try:
            model = self._offered.model(task.key.recipe.model)
            with every(self._settings.lease_s / 6, beat):
                sequence = Sequence(key[:12], task.bases)
                for _ in self._extraction.run(
                    model,
                    task.key.recipe,
                    [sequence],
                    progress=progress,
                    also=lambda found, connection: Queue.finish(connection, found.digest, self.name),
                ):
                    log.info("task %s is done", key)
        except ExtractionError as error:
            # The same input would fail again.
            log.warning("task %s failed: %s", key, error)
            self._queue.fail(key, self.name, str(error), retry=False)
        except Exception as error:
            log.exception("task %s failed, attempt %d", key, task.attempts)
            self._queue.fail(key, self.name, f"{type(error).__name__}: {error}", retry=True)


def main(name: str | None = None, *, supervised: bool = False) -> None:
    """Run a worker under the settings of the environment until SIGTERM, SIGINT or the parent's end."""
    settings = Settings()
    with Store.open(settings.store, catalog=settings.catalog) as store:
        worker = Worker(settings, store, name=name)

        def on_signal(_: int, __: FrameType | None) -> None:
            worker.stop()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        if supervised:
            threading.Thread(target=_stop_with_parent, args=(worker,), daemon=True).start()
        worker.run()


def _stop_with_parent(worker: Worker) -> None:
    sys.stdin.buffer.read()
    worker.stop()
