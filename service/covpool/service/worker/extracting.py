"""Extracting: the child process of a worker; it holds the models, computes, and puts into the store.

Started as `python -m covpool.service.worker.extracting WORKER`. It ends when its standard input does: a
worker that is gone, for whatever reason, leaves no child behind.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy.engine import Connection

from covpool.extractor.adapters.batching import memory_share
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction.regions import Region, keys_of
from covpool.extractor.extraction.threads import compute_threads
from covpool.extractor.models.models import Model, Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.service import logs
from covpool.service.errors import LeaseLostError
from covpool.service.extraction.tasks import STORED_DTYPE, Extraction, out_of_memory
from covpool.service.opening import open_chosen
from covpool.service.queue.leases import finish_task
from covpool.service.settings import Settings
from covpool.service.submission.offered import Offered
from covpool.service.worker.faults import (
    Fault,
    InputFault,
    MemoryFault,
    OutageFault,
    StoreFault,
    UnforeseenFault,
)
from covpool.service.worker.lines import Lines, Message
from covpool.store.errors import CapacityError, InvalidMomentsError, StoreError
from covpool.store.outages import is_outage, probe
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe
from covpool.store.values.moments import Moments

#: Seconds between two messages about progress.
TELL_S = 0.2

log = logging.getLogger(__name__)


class _AllDroppedError(Exception):
    """Nothing of the batch is wanted any more."""


class _Batch:
    """The tasks of one run: how far each is, and which are still wanted."""

    def __init__(self, lines: Lines, dropped: set[str], costs: dict[str, int]) -> None:
        self._lines = lines
        self._dropped = dropped
        # The longest are run first, so they are the ones whose tokens arrive.
        self._left = dict(sorted(costs.items(), key=lambda item: -item[1]))
        self._told = 0.0
        self._tokens = 0

    def progress(self, tokens: int) -> None:
        """Tell of tokens done, now and then; stop when no task is wanted any more."""
        self._tokens += tokens
        if self._left and self._dropped.issuperset(self._left):
            raise _AllDroppedError
        if time.monotonic() < self._told + TELL_S:
            return
        self._told = time.monotonic()
        spread, done = self._tokens, {}
        for key, cost in self._left.items():
            done[key] = min(cost, spread)
            spread -= done[key]
        self._lines.send(progress=done)

    def wanted(self, key: str) -> bool:
        """Whether its result is still to be cached."""
        return key not in self._dropped

    def settle(self, key: str, *, done: bool) -> None:
        """Tell that a task is over."""
        self._tokens = max(0, self._tokens - self._left.pop(key))
        self._lines.send(**{"done" if done else "dropped": key})

    def drop_rest(self) -> None:
        """Tell that all that is left was dropped."""
        for key in list(self._left):
            self.settle(key, done=False)


@dataclass(frozen=True)
class _Asked:
    """A task of a batch: its sequence and region classes, and its keys by layer and class."""

    task: str
    cost: int
    sequence: Sequence
    regions: tuple[Region, ...]
    keys: dict[tuple[str, str], MomentsKey]

    @classmethod
    def read(cls, told: Message, recipe: Recipe, layers: tuple[str, ...], model: Model) -> Self:
        """The task of a message."""
        sequence = Sequence(told["task"][:12], told["bases"])
        regions = tuple(Region(name, tuple(map(tuple, spans))) for name, spans in told["regions"])
        recipes = {layer: replace(recipe, layer=layer) for layer in layers}
        keys = keys_of(regions, sequence.digest, len(sequence), recipes, model, Options.of(recipe))
        return cls(told["task"], told["cost"], sequence, regions, keys)

    def without(self, ready: Collection[str]) -> Self:
        """With the classes alone of which a layer is missing."""
        missing = {name for (_, name), key in self.keys.items() if key.digest not in ready}
        return replace(self, regions=tuple(one for one in self.regions if one.name in missing))


class Extracting:
    """Runs batches as they are asked for."""

    def __init__(self, worker: str, settings: Settings, store: Store, lines: Lines) -> None:
        self._worker = worker
        self._store = store
        self._lines = lines
        self._offered = Offered.read(settings.models)
        self._extraction = Extraction(
            store, device=settings.device, model_memory=settings.model_memory, keep_s=settings.keep_s
        )
        self._threads = settings.threads
        self._runs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._dropped: set[str] = set()

    def listen(self) -> None:
        """Take messages until the worker is gone, then end this process."""
        for message in self._lines.receive():
            if "drop" in message:
                self._dropped.update(message["drop"])
            else:
                self._runs.put(message)
        # Without waiting for the forward in hand: nobody would take its result.
        os._exit(0)

    def work(self) -> None:
        """Run what is asked for, for ever."""
        self._lines.send(device=self._extraction.device_memory())
        while True:
            message = self._runs.get()
            self._dropped.clear()
            with self._faults_told():
                self._run(message)
                self._lines.send(device=self._extraction.device_memory())
                self._lines.send(end=True)

    def _run(self, message: Message) -> None:
        recipe, layers = Recipe.from_json(message["recipe"]), tuple(message["layers"])
        model = self._offered.model(recipe.model)
        found = [_Asked.read(one, recipe, layers, model) for one in message["run"]]
        batch = _Batch(self._lines, self._dropped, {one.task: one.cost for one in found})
        # What was cached meanwhile, by another command say, is not computed again.
        ready = self._store.catalog.ready_among([key.digest for one in found for key in one.keys.values()])
        left = []
        for one in found:
            rest = one.without(ready)
            if rest.regions:
                left.append(rest)
            else:
                self._end(batch, one.task, {})
        try:
            with memory_share(message["share"]), compute_threads(self._threads):
                for index, moments in self._extraction.moments(
                    model,
                    recipe,
                    [one.sequence for one in left],
                    layers=layers,
                    regions=[one.regions for one in left],
                    progress=batch.progress,
                ):
                    self._end(batch, left[index].task, moments)
        except _AllDroppedError:
            batch.drop_rest()

    def _end(self, batch: _Batch, task: str, found: Mapping[MomentsKey, Moments]) -> None:
        """Cache a task's moments, and end it in the transaction that makes them ready."""

        def ending(connection: Connection) -> None:
            finish_task(connection, task, self._worker)

        try:
            if not batch.wanted(task):
                raise LeaseLostError(f"task {task}: was cancelled")
            # What another worker made ready is being read: it is not written over.
            left = [key for key in found if key not in self._store]
            if left:
                rows = [(key, found[key].astype(STORED_DTYPE)) for key in left]
                self._store.put_many(rows, also=ending)
            else:
                with self._store.database.writing() as connection:
                    ending(connection)
        except LeaseLostError as lost:
            log.info("%s", lost)
            batch.settle(task, done=False)
        else:
            batch.settle(task, done=True)

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        fault: type[Fault]
        try:
            yield
            return
        except (ExtractionError, CapacityError, InvalidMomentsError) as found:
            error, fault = str(found), InputFault
        except StoreError as found:
            error, fault = str(found), OutageFault if is_outage(found) else StoreFault
        except Exception as found:
            error = f"{type(found).__name__}: {found}"
            fault = MemoryFault if out_of_memory(found) else UnforeseenFault
            if isinstance(found, OSError) and self._is_out():
                fault = OutageFault
            if fault is UnforeseenFault:
                log.exception("a batch failed")
        # Only now, when the exception no longer holds the tensors of its frames.
        if fault is MemoryFault:
            self._extraction.free_memory()
        self._lines.send(fault=fault.kind, error=error)

    def _is_out(self) -> bool:
        """Whether the storage is, by a look at it: an error of the system may come from anywhere."""
        try:
            probe(self._store)
        except StoreError:
            return True
        return False


def main() -> None:
    """Serve the worker named by the first argument, under the settings of the environment."""
    # An interrupt or a stop meant for all processes of a service is the worker's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Messages go over what was standard output; whatever else is printed goes to the log.
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    settings = Settings.read()
    logs.configure(settings)
    with open_chosen(settings) as store:
        extracting = Extracting(sys.argv[1], settings, store, Lines(sys.stdin.buffer, outgoing))
        threading.Thread(target=extracting.listen, name="listen", daemon=True).start()
        extracting.work()


if __name__ == "__main__":
    main()
