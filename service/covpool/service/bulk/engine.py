"""Engine: a bulk worker's model and store, loaded once; runs one piece of work at a time."""

import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace

import torch

from covpool.extractor.adapters.adapter import Divisible
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction import extract_regions
from covpool.extractor.models import describe
from covpool.extractor.parts import PART_BASES, Step
from covpool.extractor.regions import keys_of
from covpool.extractor.sequences import Sequence
from covpool.service.bulk.stepping import Stepping
from covpool.service.bulk.work import Member, Outcome, Spec, Work
from covpool.service.keeping import Keeping
from covpool.service.tasks import STORED_DTYPE, out_of_memory
from covpool.store.errors import InvalidMomentsError, StoreError
from covpool.store.keys import MomentsKey
from covpool.store.moments import Moments
from covpool.store.zarr_store import Store

log = logging.getLogger(__name__)


Row = tuple[MomentsKey, Moments]


@dataclass
class Computed:
    """Work whose results are not in the store yet.

    Attributes:
        work: all of it.
        rows: what is to be put, by index of the plan's item.
        errors: by index, those that failed by their own fault.
        busy_s: seconds the device was taken.
    """

    work: Work
    rows: dict[int, list[Row]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    busy_s: float = 0.0


class Engine:
    """Runs work under a spec; several threads may share it.

    Raises:
        ExtractionError: the model cannot be loaded here, or has other weights than the plan was made with.
        StoreError: the store cannot be opened.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        model = describe(spec.model)
        if model.weights != spec.weights:
            raise ExtractionError(
                f"model {spec.model} has weights {model.weights[:12]} here, the plan was made with "
                f"{spec.weights[:12]}; give every worker the same files"
            )
        if spec.device_kind == "cpu":
            torch.set_num_threads(spec.threads)
        self._adapter = load_model(model, device=spec.device or "cpu", dtype=spec.dtype)
        self._recipes = {layer: model.recipe(layer, spec.options, dtype=spec.dtype) for layer in spec.layers}
        self._store = Store.open(spec.store, catalog=spec.catalog)
        self._keeping = Keeping(self._store, spec.keep_s)
        # The device has one user at a time; what was computed is put while the next forward runs.
        self._turn = threading.Lock()

    def run(self, work: Work) -> Outcome:
        """Compute and cache what is missing; what is ready already is not computed again.

        Raises:
            StoreError: the store refused: no sequence is at fault.
        """
        return self.put(self.compute(work))

    def compute(self, work: Work) -> Computed:
        """The first half of `run`; one at a time, whatever the thread."""
        with self._turn:
            begun = time.perf_counter()
            asked = [key.digest for one in work.members for key in self._keys(one).values()]
            ready = self._store.catalog.ready_among(asked)
            missing = [one for member in work.members if (one := self._without(member, ready)).regions]
            computed = Computed(work)
            self._compute(missing, ready, computed)
            computed.busy_s = time.perf_counter() - begun
            return computed

    def put(self, computed: Computed) -> Outcome:
        """The second half of `run`; may go on beside the next `compute`."""
        work, errors = computed.work, computed.errors
        try:
            self._store.put_many(row for rows in computed.rows.values() for row in rows)
        except (InvalidMomentsError, MemoryError):
            for index, rows in computed.rows.items():
                try:
                    self._store.put_many(rows)
                except (InvalidMomentsError, MemoryError) as error:
                    errors[index] = str(error) or "out of memory"
        if not errors and work.step is None and _is_long(work):
            self._keeping.forget(self._keys(work.members[0]).values())
        keys = tuple(
            key.digest
            for member in work.members
            if member.index not in errors and work.step is None
            for key in self._keys(member).values()
        )
        return Outcome(errors, keys, computed.busy_s, f"{os.uname().nodename}:{os.getpid()}")

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def _compute(self, members: list[Member], ready: set[str], computed: Computed) -> None:
        """Rows or an error of each; when the forward of several fails, each runs alone in the same shape."""
        if not members:
            return
        try:
            computed.rows |= self._forward(members, ready, computed.work)
            return
        except ExtractionError as found:
            error = str(found)
        except StoreError:
            raise
        except Exception as found:
            if not out_of_memory(found):
                log.exception("%s failed", members[0].name)
            error = f"{type(found).__name__}: {found}".partition("\n")[0]
        if len(members) == 1:
            computed.errors[members[0].index] = error
        else:
            for member in members:
                self._compute([member], ready, computed)

    def _forward(self, members: list[Member], ready: set[str], work: Work) -> dict[int, list[Row]]:
        """What is to be put, by index."""
        if work.step is not None:
            # The member as all steps know it, whatever became ready meanwhile.
            self._step(work.members[0], work.step)
            return {}
        sequences = [(Sequence(one.name, one.bases), one.regions) for one in members]
        keys = [self._keys(member) for member in members]
        long = _is_long(work)
        found = extract_regions(
            self._adapter,
            sequences,
            self._spec.layers,
            self._spec.options,
            filler=work.shape.filler(len(members)),
            kept=self._keeping.kept(keys[0]) if long else None,
            keep=self._keeping.keep(keys[0]) if long else None,
        )
        return {
            member.index: [
                (named[layer, name], moments.astype(STORED_DTYPE))
                for layer, classes in of_member.items()
                for name, moments in classes.items()
                # A class that only another layer lacked: what is being read is not written over.
                if named[layer, name].digest not in ready
            ]
            for member, of_member, named in zip(members, found, keys, strict=True)
        }

    def _step(self, member: Member, step: Step) -> None:
        assert isinstance(self._adapter, Divisible)
        Stepping(
            self._adapter,
            self._store,
            Sequence(member.name, member.bases),
            member.regions,
            self._spec.layers,
            self._spec.options,
            self._keys(member),
        ).run(step)

    def _keys(self, member: Member) -> dict[tuple[str, str], MomentsKey]:
        sequence = Sequence(member.name, member.bases)
        return keys_of(
            member.regions,
            sequence.digest,
            len(sequence),
            self._recipes,
            self._adapter.model,
            self._spec.options,
        )

    def _without(self, member: Member, ready: set[str]) -> Member:
        """The member with the classes that are missing at a layer."""
        missing = {name for (_, name), key in self._keys(member).items() if key.digest not in ready}
        return replace(member, regions=tuple(one for one in member.regions if one.name in missing))


def _is_long(work: Work) -> bool:
    """Whether it is one sequence of several parts, of which something may be kept on the way."""
    return len(work.members[0].bases) > PART_BASES
