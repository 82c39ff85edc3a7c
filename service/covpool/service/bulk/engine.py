"""Engine: a bulk worker's model and store, loaded once; runs one piece of work at a time."""

import logging
import os
import threading
import time
from dataclasses import replace

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
from covpool.store.zarr_store import Store

log = logging.getLogger(__name__)


class Engine:
    """Runs work under a spec.

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
        # A cluster's worker may have several threads; the device has one user at a time.
        self._turn = threading.Lock()
        self._ready: set[str] = set()

    def run(self, work: Work) -> Outcome:
        """Compute and cache what is missing; what is ready already is not computed again.

        Raises:
            StoreError: the store refused: no sequence is at fault.
        """
        with self._turn:
            begun = time.perf_counter()
            asked = [key.digest for one in work.members for key in self._keys(one).values()]
            self._ready = self._store.catalog.ready_among(asked)
            missing = [one for one in map(self._without_ready, work.members) if one.regions]
            errors = self._compute(missing, work)
            keys = tuple(
                key.digest
                for member in work.members
                if member.index not in errors and work.step is None
                for key in self._keys(member).values()
            )
            return Outcome(errors, keys, time.perf_counter() - begun, f"{os.uname().nodename}:{os.getpid()}")

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def _compute(self, members: list[Member], work: Work) -> dict[int, str]:
        """Errors by index; when the forward of several fails, each is run alone in the same shape."""
        if not members:
            return {}
        try:
            self._forward(members, work)
        except (ExtractionError, InvalidMomentsError) as found:
            error = str(found)
        except StoreError:
            raise
        except Exception as found:
            if not out_of_memory(found):
                log.exception("%s failed", members[0].name)
            error = f"{type(found).__name__}: {found}".partition("\n")[0]
        else:
            return {}
        if len(members) == 1:
            return {members[0].index: error}
        errors: dict[int, str] = {}
        for member in members:
            errors |= self._compute([member], work)
        return errors

    def _forward(self, members: list[Member], work: Work) -> None:
        if work.step is not None:
            # The member as all steps know it, whatever became ready meanwhile.
            self._step(work.members[0], work.step)
            return
        sequences = [(Sequence(one.name, one.bases), one.regions) for one in members]
        alone = len(members) == 1 and work.shape.rows == 1
        keys = [self._keys(member) for member in members]
        found = extract_regions(
            self._adapter,
            sequences,
            self._spec.layers,
            self._spec.options,
            filler=work.shape.filler(len(members)),
            kept=self._keeping.kept(keys[0]) if alone else None,
            keep=self._keeping.keep(keys[0]) if alone else None,
        )
        self._store.put_many(
            (named[layer, name], moments.astype(STORED_DTYPE))
            for of_member, named in zip(found, keys, strict=True)
            for layer, classes in of_member.items()
            for name, moments in classes.items()
            # A class that only another layer lacked: what is being read is not written over.
            if named[layer, name].digest not in self._ready
        )
        if alone and len(sequences[0][0]) > PART_BASES:
            self._keeping.forget(self._keys(work.members[0]).values())

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

    def _without_ready(self, member: Member) -> Member:
        """The member with the classes that are missing at a layer."""
        keys = self._keys(member)
        missing = {name for (_, name), key in keys.items() if key.digest not in self._ready}
        return replace(member, regions=tuple(one for one in member.regions if one.name in missing))
