"""Runner: packs of a bulk run; a child process computes, this one puts what it computed into the store.

One runs in the command itself, or one on each Dask worker. Matrices are put while the next forward runs; in
one process the two would take turns, since small matrices cost Python and not waiting.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from covpool.extractor.errors import ExtractionError
from covpool.extractor.models.models import describe
from covpool.service.errors import BulkError
from covpool.service.extraction.engine_process import Batch, EngineProcess, Row
from covpool.service.extraction.patience import patiently
from covpool.service.extraction.work import Member, Outcome, Spec, Work
from covpool.service.processes.faults import InputFault
from covpool.service.processes.isolation import isolate
from covpool.service.settings import Settings
from covpool.store.errors import InvalidMomentsError

log = logging.getLogger(__name__)

#: Threads that a runner is used by: while one waits for the child, the other puts.
LANES = 2
#: Pieces of work that a runner has at once: one is computed, one put into the store, and one waits.
AHEAD = LANES + 1


@dataclass
class _Tally:
    """What came of a piece of work so far."""

    keys: list[str] = field(default_factory=list)
    busy_s: float = 0.0


class Runner:
    """Model and store of a bulk run; several threads may use it.

    Args:
        spec: of the run.

    Raises:
        ExtractionError: the model has other weights than the plan was made with.
        Fault: it cannot be loaded here.
        StoreError: the store cannot be opened.
    """

    def __init__(self, spec: Spec) -> None:
        self._model = describe(spec.model)
        if self._model.weights != spec.weights:
            raise ExtractionError(
                f"model {spec.model} has weights {self._model.weights[:12]} here, the plan was made with "
                f"{spec.weights[:12]}; give every worker the same files"
            )
        self._layers = spec.layers
        self._recipe = self._model.recipe(spec.layers[0], spec.options, dtype=spec.dtype)
        self._store = spec.open_store()
        self._engine = EngineProcess(
            Settings.read(
                store=spec.store,
                catalog=spec.catalog,
                durability=spec.durability,
                codec=spec.codec,
                device=spec.device or "cpu",
                threads=spec.threads,
                keep_s=spec.keep_s,
            )
        )
        # The child has one user at a time.
        self._turn = threading.Lock()
        self._over = threading.Event()
        try:
            self._engine.load(self._model, self._recipe)
        except BaseException:
            self.close()
            raise

    def run(self, work: Work) -> Outcome:
        """Compute and cache what is missing of each member, or tell why there is no result.

        An outage of the storage is waited for.

        Raises:
            OutsideFault, StoreError: no member is at fault.
            BulkError: the runner was stopped.
        """
        tally, errors = _Tally(), {}
        for member, fault in isolate(work.members, partial(self._run, tally)):
            if fault is not None:
                log.warning("%s: %s", member.name, fault)
                errors[member.index] = str(fault)
        return Outcome(errors, tuple(tally.keys), tally.busy_s)

    def stop(self) -> None:
        """Give up what is under way."""
        self._over.set()
        self._engine.kill()

    def close(self) -> None:
        """End the child and release the store."""
        self._engine.close()
        self._store.close()

    def _run(self, tally: _Tally, members: Sequence[Member], share: float) -> Iterable[Member]:
        batch = Batch(self._model, self._recipe, self._layers, tuple(members), share)
        rows = patiently(self._store, partial(self._compute, tally, batch), self._over)
        patiently(self._store, partial(self._put, rows), self._over)
        tally.keys += [key.digest for key, _ in rows]
        return members

    def _compute(self, tally: _Tally, batch: Batch) -> list[Row]:
        with self._turn:
            if self._over.is_set():
                raise BulkError("the run was stopped")
            before = self._engine.busy_s
            rows = [row for _, of_member in self._engine.run(batch) for row in of_member]
            tally.busy_s += self._engine.busy_s - before
            return rows

    def _put(self, rows: list[Row]) -> None:
        try:
            self._store.put_many(rows)
        except (InvalidMomentsError, MemoryError) as error:
            raise InputFault(str(error) or "out of memory") from error
