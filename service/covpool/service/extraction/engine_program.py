"""Engine program: the child of an `EngineProcess`; it holds the models and computes.

It ends when its parent does: whoever is gone, for whatever reason, leaves no child behind.
"""

import logging
import os
import queue
import signal
import threading
import time
from typing import Any

from covpool.service import logs
from covpool.service.extraction.engine import Engine
from covpool.service.extraction.engine_process import Batch, Device
from covpool.service.opening import open_chosen
from covpool.service.processes.faults import Fault, OutsideFault, StartFault, fault_of
from covpool.service.processes.messages import Messages
from covpool.service.settings import Settings
from covpool.store.store import Store

#: Seconds between two messages about progress.
TELL_S = 0.2

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The run was left by its caller."""


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
        # Numbers of the request under way, and of the last one that was stopped.
        self._number = self._stopped = 0
        self._tokens = 0
        self._told = 0.0

    def listen(self) -> None:
        """Take messages until the parent is gone, then end this process."""
        for number, kind, *more in self._messages.receive():
            if kind == "stop":
                self._stopped = number
            else:
                self._requests.put((number, kind, *more))
        # Without waiting for the forward in hand: nobody would take its result.
        os._exit(0)

    def work(self) -> None:
        """Answer requests, for ever."""
        self._tell_device()
        while True:
            self._number, kind, *more = self._requests.get()
            begun = time.perf_counter()
            try:
                with self._engine.faults():
                    if kind == "load":
                        self._engine.models.adapter(*more)
                    else:
                        self._run(*more)
                    self._tell_device()
                    self._tell("end", time.perf_counter() - begun)
            except Fault as fault:
                self._tell("fault", fault)

    def _run(self, batch: Batch) -> None:
        self._tokens = 0
        computed = self._engine.moments(
            batch.model, batch.workloads, share=batch.share, progress=self._progress
        )
        try:
            for index, found in computed:
                # One by one, or all would be held in several more copies on the way.
                for key, moments in found.items():
                    self._tell("row", key, moments)
                self._tell("tokens", self._tokens)
                self._tell("member", index)
        except _StoppedError:
            log.info("a run was stopped")

    def _progress(self, tokens: int) -> None:
        """Tell of tokens done, now and then; leave a run that was stopped."""
        self._tokens += tokens
        if self._stopped == self._number:
            raise _StoppedError
        if time.monotonic() >= self._told + TELL_S:
            self._told = time.monotonic()
            self._tell("tokens", self._tokens)

    def _tell(self, *told: object) -> None:
        self._messages.send(self._number, *told)

    def _tell_device(self) -> None:
        self._tell("device", Device(*self._engine.models.device_memory()))


def main() -> None:
    """Serve the parent, under the settings of the environment."""
    # An interrupt or a stop meant for all processes of a service is the parent's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    messages = Messages.of_parent()
    settings = Settings.read()
    logs.configure(settings)
    try:
        program = EngineProgram(settings, open_chosen(settings), messages)
    except Exception as error:
        fault = fault_of(error)
        messages.send(0, "fault", fault if isinstance(fault, OutsideFault) else StartFault(str(fault)))
        return
    threading.Thread(target=program.listen, name="listen", daemon=True).start()
    program.work()


if __name__ == "__main__":
    main()
