"""Stepping: a step of a divided forward, from what the stage before left in the store to what it leaves.

A step that is done already is not run again, and one whose input is lost computes that input: so any worker
may run any step, and a run that was cut off goes on.
"""

from contextlib import suppress

import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import Divisible
from covpool.extractor.extraction.division import run_step
from covpool.extractor.extraction.parts import STAGES, Step, begins, steps
from covpool.extractor.extraction.regions import Region
from covpool.extractor.models.models import Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.extraction.keeping import Keys
from covpool.store.errors import CorruptEntryError, FormatVersionError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey


class Stepping:
    """One sequence, step by step.

    Args:
        adapter: of the model.
        store: where steps meet.
        sequence, regions, layers, options: see `extract_regions`.
        keys: of the sequence's results; the tokens between two stages lie under the first of them.
    """

    def __init__(
        self,
        adapter: Divisible,
        store: Store,
        sequence: Sequence,
        regions: tuple[Region, ...],
        layers: tuple[str, ...],
        options: Options,
        keys: Keys,
    ) -> None:
        self._adapter, self._partials = adapter, store.partials
        self._sequence, self._regions = sequence, regions
        self._layers, self._options = layers, options
        self._keys = keys
        self._own = next(iter(keys.values()))
        self._stages = steps(adapter.model, layers, len(sequence), options, adapter.part)

    def run(self, step: Step) -> None:
        """Run a step unless all that it leaves is there.

        Raises:
            ActivationError: the model gave no whole result.
            StoreError: the store refused.
        """
        if not self._is_done(step):
            self._compute(step)

    def _is_done(self, step: Step) -> bool:
        last = step in self._stages[-1]
        return (last or self._tokens(step) is not None) and all(
            self._has_sums(key, begin)
            for (layer, _), key in self._keys.items()
            for begin in begins(self._adapter.model, layer, len(self._sequence), step, self._adapter.part)
        )

    def _has_sums(self, key: MomentsKey, begin: int) -> bool:
        with suppress(CorruptEntryError, FormatVersionError):
            return self._partials.get(key, begin) is not None
        return False

    def _tokens(self, step: Step) -> Tensor | None:
        """What a step left; None where it is lost."""
        with suppress(CorruptEntryError, FormatVersionError):
            found = self._partials.get_tokens(self._own, step.leaves())
            return None if found is None else torch.from_numpy(found)
        return None

    def _compute(self, step: Step) -> Tensor | None:
        """Run a step and keep what it gives; the tokens that it leaves."""
        sums, tokens = run_step(
            self._adapter,
            self._sequence,
            self._regions,
            self._layers,
            self._options,
            step,
            self._given(step),
        )
        for named, partials in sums.items():
            for partial in partials:
                if named in self._keys:
                    self._partials.put(self._keys[named], partial)
        if tokens is None or step in self._stages[-1]:
            return None
        # NumPy has no bfloat16; float32 holds it exactly.
        kept = (tokens.float() if tokens.element_size() < 4 else tokens).cpu()
        self._partials.put_tokens(self._own, step.leaves(), kept.numpy())
        return kept

    def _given(self, step: Step) -> Tensor | None:
        """What the stage before left for a step's strand."""
        before = STAGES.index(step.stage) - 1
        if before < 0:
            return None
        found = []
        for one in self._stages[before]:
            if one.strand == step.strand:
                tokens = self._tokens(one)
                found.append(self._compute(one) if tokens is None else tokens)
        return torch.cat([tokens for tokens in found if tokens is not None])
