"""Engine program: the child of an `EngineProcess`; it holds the models and computes.

It ends when its parent does: whoever is gone, for whatever reason, leaves no child behind.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from covpool.extractor.adapters.batching import memory_share
from covpool.extractor.extraction.regions import keys_of
from covpool.extractor.extraction.threads import compute_threads
from covpool.extractor.models.models import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.service import logs
from covpool.service.extraction.engine_process import Batch, Device
from covpool.service.extraction.tasks import STORED_DTYPE, Extraction, out_of_memory
from covpool.service.extraction.work import Member
from covpool.service.opening import open_chosen
from covpool.service.processes.faults import (
    Fault,
    MemoryFault,
    OutageFault,
    OutsideFault,
    StartFault,
    UnforeseenFault,
    fault_of,
)
from covpool.service.processes.messages import Messages
from covpool.service.settings import Settings
from covpool.store.errors import StoreError
from covpool.store.outages import probe
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

#: Seconds between two messages about progress.
TELL_S = 0.2

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The run was left by its caller."""


@dataclass(frozen=True)
class _Keyed:
    """A member and its keys by layer and class."""

    member: Member
    keys: Mapping[tuple[str, str], MomentsKey]

    @classmethod
    def of(cls, member: Member, batch: Batch) -> Self:
        """The member of a batch."""
        sequence = Sequence(member.name, member.bases)
        recipes = {layer: replace(batch.recipe, layer=layer) for layer in batch.layers}
        options = Options.of(batch.recipe)
        return cls(
            member,
            keys_of(member.regions, sequence.digest, len(sequence), recipes, batch.model, options),
        )

    def without(self, ready: Collection[str]) -> Member:
        """The member with the classes alone of which a layer is missing."""
        missing = {name for (_, name), key in self.keys.items() if key.digest not in ready}
        regions = tuple(region for region in self.member.regions if region.name in missing)
        return replace(self.member, regions=regions)


class EngineProgram:
    """Answers requests one after the other."""

    def __init__(self, settings: Settings, store: Store, messages: Messages) -> None:
        self._store = store
        self._messages = messages
        self._extraction = Extraction(
            store, device=settings.device, model_memory=settings.model_memory, keep_s=settings.keep_s
        )
        self._threads = settings.threads
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
            with self._faults_told():
                if kind == "load":
                    self._extraction.load(*more)
                else:
                    self._run(*more)
                self._tell_device()
                self._tell("end", time.perf_counter() - begun)

    def _run(self, batch: Batch) -> None:
        self._tokens = 0
        found = [_Keyed.of(member, batch) for member in batch.members]
        # What was cached meanwhile, by another command for example, is not computed again.
        ready = self._store.catalog.ready_among([key.digest for one in found for key in one.keys.values()])
        left = [member for one in found if (member := one.without(ready)).regions]
        for done in {one.member.index for one in found} - {member.index for member in left}:
            self._tell("member", done)
        with memory_share(batch.share), compute_threads(self._threads):
            try:
                for place, moments in self._extraction.moments(
                    batch.model,
                    batch.recipe,
                    [Sequence(member.name, member.bases) for member in left],
                    layers=batch.layers,
                    regions=[member.regions for member in left],
                    progress=self._progress,
                ):
                    self._tell_rows(left[place].index, moments, ready)
            except _StoppedError:
                log.info("a run was stopped")

    def _tell_rows(self, index: int, found: Mapping[MomentsKey, Moments], ready: Collection[str]) -> None:
        """Send a member's results one by one, or all would be held in several more copies on the way."""
        for key, moments in found.items():
            # A class that only another layer lacked: what is being read is not written over.
            if key.digest not in ready:
                self._tell("row", key, moments.astype(STORED_DTYPE))
        self._tell("tokens", self._tokens)
        self._tell("member", index)

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
        self._tell("device", Device(*self._extraction.device_memory()))

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        fault: Fault
        try:
            yield
            return
        except Exception as error:
            fault = fault_of(error)
            if out_of_memory(error):
                fault = MemoryFault(str(fault))
            elif isinstance(error, OSError) and self._is_out():
                fault = OutageFault(str(fault))
            if isinstance(fault, UnforeseenFault):
                log.exception("a request failed")
        # Only now, when the exception no longer holds the tensors of its frames.
        if isinstance(fault, MemoryFault):
            self._extraction.free_memory()
        self._tell("fault", fault)

    def _is_out(self) -> bool:
        """Whether the storage is, by a look at it: an error of the system may come from anywhere."""
        try:
            probe(self._store)
        except StoreError:
            return True
        return False


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
