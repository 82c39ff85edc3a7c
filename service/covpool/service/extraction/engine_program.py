"""Engine program: the child of an `EngineProcess`; it holds the models and computes.

It ends when its parent ends, for whatever reason, so no child process is left over.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model
from covpool.service.extraction.engine import Engine
from covpool.service.extraction.engine_process import Device
from covpool.service.processes.child import Messages, serve_parent
from covpool.service.processes.faults import Fault, OutsideFault, StartFault, fault_of
from covpool.service.settings import Settings
from covpool.store.store import Store

#: Seconds between two messages about progress.
PROGRESS_S = 0.2

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The caller stopped the run."""


class EngineProgram:
    """Answers requests one after the other."""

    def __init__(self, settings: Settings, store: Store, messages: Messages) -> None:
        self._messages = messages
        self._engine = Engine(
            store,
            device=settings.device,
            threads=settings.threads,
            model_memory=settings.model_memory,
            checkpoint_s=settings.keep_s,
        )
        self._requests: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        # Numbers of the current request, and of the last one that was stopped.
        self._number = self._stopped = 0
        self._tokens = 0
        self._sent_at = 0.0

    def listen(self) -> None:
        """Receive messages until the parent is gone, then end this process."""
        for number, kind, *more in self._messages.receive():
            if kind == "stop":
                self._stopped = number
            else:
                self._requests.put((number, kind, *more))
        # Do not wait for the current forward: no one would receive its result.
        os._exit(0)

    def work(self) -> None:
        """Answer requests, for ever."""
        self._send_device()
        while True:
            self._number, kind, *more = self._requests.get()
            begun = time.perf_counter()
            try:
                with self._engine.faults():
                    if kind == "load":
                        self._engine.models.adapter(*more)
                    else:
                        self._run(*more)
                    self._send_device()
                    self._send("end", time.perf_counter() - begun)
            except Fault as fault:
                self._send("fault", fault)

    def _run(self, model: Model, workloads: Sequence[Workload], share: float) -> None:
        self._tokens = 0
        computed = self._engine.moments(model, workloads, share=share, progress=self._progress)
        try:
            for index, results in computed:
                # One by one: sending all at once would hold several more copies in memory.
                for key, moments in results.items():
                    self._send("row", key, moments)
                self._send("tokens", self._tokens)
                self._send("member", index)
        except _StoppedError:
            log.info("a run was stopped")

    def _progress(self, tokens: int) -> None:
        """Report the tokens done, from time to time; leave a run that was stopped."""
        self._tokens += tokens
        if self._stopped == self._number:
            raise _StoppedError
        if time.monotonic() >= self._sent_at + PROGRESS_S:
            self._sent_at = time.monotonic()
            self._send("tokens", self._tokens)

    def _send(self, *message: object) -> None:
        self._messages.send(self._number, *message)

    def _send_device(self) -> None:
        self._send("device", Device(*self._engine.models.device_memory()))


def main() -> None:
    """Serve the parent, under the settings of the environment."""
    messages, settings = serve_parent()
    try:
        program = EngineProgram(settings, settings.open_store(), messages)
    except Exception as error:
        fault = fault_of(error)
        messages.send(0, "fault", fault if isinstance(fault, OutsideFault) else StartFault(str(fault)))
        return
    threading.Thread(target=program.listen, name="listen", daemon=True).start()
    program.work()


if __name__ == "__main__":
    main()
