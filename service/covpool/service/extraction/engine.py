"""Engine: a bulk worker's model and store, loaded once; runs one piece of work at a time."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from covpool.extractor.adapters.adapter import Divisible
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction.extract import extract_regions
from covpool.extractor.extraction.parts import PART_BASES, Step
from covpool.extractor.extraction.regions import keys_of
from covpool.extractor.extraction.threads import compute_threads
from covpool.extractor.models.models import describe
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.extraction.keeping import Keeping, Keys
from covpool.service.extraction.patience import patiently
from covpool.service.extraction.putting import Computed, Row, put
from covpool.service.extraction.stepping import Stepping
from covpool.service.extraction.tasks import STORED_DTYPE, out_of_memory
from covpool.service.extraction.work import Member, Outcome, Spec, Work
from covpool.store.errors import StoreError

log = logging.getLogger(__name__)


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
        self._adapter = load_model(model, device=spec.device or "cpu", dtype=spec.dtype)
        self._recipes = {layer: model.recipe(layer, spec.options, dtype=spec.dtype) for layer in spec.layers}
        self._store = spec.open_store()
        self._keeping = Keeping(self._store, spec.keep_s)
        # The device has one user at a time; what was computed is put while the next forward runs.
        self._turn = threading.Lock()

    def run(self, work: Work) -> Outcome:
        """Compute and cache what is missing; what is ready already is not computed again.

        Raises:
            StoreError: the store refused: no sequence is at fault. An outage is waited for.
        """
        computed = self.compute(work)
        return patiently(self._store, lambda: put(self._store, computed))

    def compute(self, work: Work) -> Computed:
        """The first half of `run`; one at a time, whatever the thread."""
        return patiently(self._store, lambda: self._compute(work))

    def _compute(self, work: Work) -> Computed:
        with self._turn, compute_threads(self._spec.threads):
            begun = time.perf_counter()
            of_step = work.step is not None
            keys = {one.index: self._keys(one) for one in work.members}
            digests = {index: [key.digest for key in of_one.values()] for index, of_one in keys.items()}
            ready = self._store.catalog.ready_among([key for of_one in digests.values() for key in of_one])
            left = [_without(one, keys[one.index], ready) for one in work.members]
            computed = Computed(f"{os.uname().nodename}:{os.getpid()}", {} if of_step else digests)
            _each([one for one in left if one.regions], partial(self._forward, work, keys, ready), computed)
            computed.kept = not of_step and _is_long(work)
            computed.busy_s = time.perf_counter() - begun
            return computed

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def _forward(
        self, work: Work, keys: dict[int, Keys], ready: set[str], members: list[Member]
    ) -> dict[int, list[Row]]:
        """What is to be put, by index."""
        if work.step is not None:
            # The member as all steps know it, whatever became ready meanwhile.
            self._step(work.members[0], work.step, keys[work.members[0].index])
            return {}
        sequences = [(Sequence(one.name, one.bases), one.regions) for one in members]
        wanted = [_of_regions(one, keys[one.index]) for one in members]
        long = _is_long(work)
        found = extract_regions(
            self._adapter,
            sequences,
            self._spec.layers,
            self._spec.options,
            kept=self._keeping.kept(wanted[0]) if long else None,
            keep=self._keeping.keep(wanted[0]) if long else None,
        )
        return {
            member.index: [
                (named[layer, name], moments.astype(STORED_DTYPE))
                for layer, classes in of_member.items()
                for name, moments in classes.items()
                # A class that only another layer lacked: what is being read is not written over.
                if named[layer, name].digest not in ready
            ]
            for member, of_member, named in zip(members, found, wanted, strict=True)
        }

    def _step(self, member: Member, step: Step, keys: Keys) -> None:
        assert isinstance(self._adapter, Divisible)
        Stepping(
            self._adapter,
            self._store,
            Sequence(member.name, member.bases),
            member.regions,
            self._spec.layers,
            self._spec.options,
            keys,
        ).run(step)

    def _keys(self, member: Member) -> Keys:
        sequence = Sequence(member.name, member.bases)
        return keys_of(
            member.regions,
            sequence.digest,
            len(sequence),
            self._recipes,
            self._adapter.model,
            self._spec.options,
        )


def _each(
    members: list[Member], forward: Callable[[list[Member]], dict[int, list[Row]]], computed: Computed
) -> None:
    """Rows or an error of each; when the forward of several fails, each runs alone in the same shape."""
    if not members:
        return
    try:
        computed.rows |= forward(members)
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
            _each([member], forward, computed)


def _without(member: Member, keys: Keys, ready: set[str]) -> Member:
    """The member with the classes that are missing at a layer."""
    missing = {name for (_, name), key in keys.items() if key.digest not in ready}
    return replace(member, regions=tuple(one for one in member.regions if one.name in missing))


def _of_regions(member: Member, keys: Keys) -> Keys:
    """Those of the classes it has."""
    names = {one.name for one in member.regions}
    return {which: key for which, key in keys.items() if which[1] in names}


def _is_long(work: Work) -> bool:
    """Whether it is one sequence of several parts, of which something may be kept on the way."""
    return len(work.members[0].bases) > PART_BASES
