"""Engine: computes the moments that a store lacks; every caller gets the same bits for a key.

Only this module decides what is ready, which sequences continue from checkpoints or share a forward, on how
many threads, and how results are cast. Forwards have fixed shapes: see `covpool.extractor.extraction.packs`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.devices import memory_share
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction.extract import Keep, Partial, extract_workloads, forward_groups
from covpool.extractor.extraction.threads import compute_threads
from covpool.extractor.extraction.workload import Keys, Workload
from covpool.extractor.models.models import Model
from covpool.service.extraction.loaded_models import LoadedModels
from covpool.service.processes.faults import Fault, MemoryFault, OutageFault, UnforeseenFault, fault_of
from covpool.store.errors import CorruptEntryError, FormatVersionError, StoreError
from covpool.store.outages import probe
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

#: Dtype in which moments are cached; sums are float64 until then.
STORED_DTYPE = "float32"

Progress = Callable[[int], None]

log = logging.getLogger(__name__)


class Engine:
    """Runs workloads, one at a time.

    Args:
        store: its results are not computed again; it also keeps checkpoints of long sequences.
        device: torch's name of the device; by default CUDA where there is one.
        threads: threads of a forward on a CPU; rounding depends on them.
        model_memory: bytes that the weights of loaded models may take, see `LoadedModels`.
        checkpoint_s: seconds between two checkpoints of a long sequence.

    Attributes:
        store: the store.
        models: the models in memory.
    """

    def __init__(
        self,
        store: Store,
        *,
        device: str | None = None,
        threads: int = 1,
        model_memory: int | None = None,
        checkpoint_s: float = 60.0,
    ) -> None:
        self.models = LoadedModels(device, model_memory)
        self.store, self._threads = store, threads
        self._checkpoints = Checkpoints(store, checkpoint_s)

    def moments(
        self,
        model: Model,
        workloads: Sequence[Workload],
        *,
        again: bool = False,
        share: float = 1.0,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, dict[MomentsKey, Moments]]]:
        """Index of each workload with its moments that the store lacks, in the dtype to be stored.

        Workloads that lack nothing come first, then the longest.

        Args:
            model: the model that the recipes name.
            workloads: all of the same recipes; all layers are taken in one forward.
            again: compute ready results too.
            share: share of the memory that forwards usually take. Results of another share may differ in
                their last bits.
            progress: called with the number of tokens done since the last call, over layers and strands.

        Raises:
            ExtractionError: the model's weights changed since the recipes were made, or a sequence or its
                activations are at fault.
            StoreError: store or catalog cannot be read, or a checkpoint cannot be written.
        """
        if not workloads:
            return
        recipes = workloads[0].recipes
        assert all(workload.recipes == recipes for workload in workloads), "several recipes"
        _check_weights(model, workloads[0])
        keys = [workload.keys(model) for workload in workloads]
        digests = [key.digest for workload_keys in keys for key in workload_keys.values()]
        ready = set() if again else self.store.catalog.ready_among(digests)
        left: list[tuple[int, Workload]] = []
        for index, workload in enumerate(workloads):
            lacking = workload.lacking(keys[index], ready)
            if lacking.selections:
                left.append((index, lacking))
            else:
                yield index, {}
        if not left:
            return
        adapter = self.models.adapter(model, recipes[0].dtype)
        with memory_share(share):
            groups = forward_groups(adapter, [workload for _, workload in left])
        for group in groups:
            indices, chosen = zip(*(left[place] for place in group), strict=True)
            computed = self._forward(adapter, chosen, keys[indices[0]], share, progress)
            for index, classes in zip(indices, computed, strict=True):
                missing = {
                    key: classes[layer][name]
                    for (layer, name), key in keys[index].items()
                    # Only another layer lacked this selection: an entry that may be read is not overwritten.
                    if key.digest not in ready
                }
                yield index, {key: moments.astype(STORED_DTYPE) for key, moments in missing.items()}

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Raise errors of the body as a `Fault`."""
        fault: Fault
        try:
            yield
            return
        except Exception as error:
            fault = fault_of(error)
            if isinstance(error, OSError) and self._is_out():
                fault = OutageFault(str(fault))
            if isinstance(fault, UnforeseenFault):
                log.exception("extraction failed")
        # Only here: the exception no longer holds the tensors of its frames.
        if isinstance(fault, MemoryFault):
            self.models.free_memory()
        raise fault

    def _is_out(self) -> bool:
        """Whether the storage is out, by a probe: a system error may have any origin."""
        try:
            probe(self.store)
        except StoreError:
            return True
        return False

    def _forward(
        self,
        adapter: Adapter,
        workloads: Sequence[Workload],
        first: Keys,
        share: float,
        progress: Progress | None,
    ) -> list[dict[str, dict[str, Moments]]]:
        """Moments of workloads that share a forward; one of several parts continues from its checkpoints."""
        long = adapter.part is not None and workloads[0].length > adapter.part
        with memory_share(share), compute_threads(self._threads):
            return extract_workloads(
                adapter,
                workloads,
                progress,
                kept=self._checkpoints.kept(first) if long else None,
                keep=self._checkpoints.keep(first) if long else None,
            )


class Checkpoints:
    """The checkpoints of long sequences.

    Args:
        store: where they are kept.
        every_s: seconds between two checkpoints.
    """

    def __init__(self, store: Store, every_s: float) -> None:
        self._partials, self._every_s = store.partials, every_s

    def kept(self, keys: Keys) -> Partial:
        """The stored sums of a sequence; sums that cannot be read are computed again."""
        partials = {}
        for named, key in keys.items():
            with suppress(CorruptEntryError, FormatVersionError):
                if (partial := self._partials.get(key)) is not None:
                    partials[named] = partial
        return partials

    def keep(self, keys: Keys) -> Keep:
        """A function for `extract_workloads`, which has the sums.

        Raises (when called):
            StoreError: the store refused.
        """
        kept_at = time.monotonic()

        def keep(take: Callable[[], Partial]) -> None:
            nonlocal kept_at
            if time.monotonic() < kept_at + self._every_s:
                return
            for named, partial in take().items():
                if named in keys:
                    self._partials.put(keys[named], partial)
            kept_at = time.monotonic()

        return keep


def _check_weights(model: Model, workload: Workload) -> None:
    """Refuse recipes of other weights than the model has.

    Raises:
        ExtractionError: says what to do.
    """
    recipe = workload.recipes[0]
    if model.recipe(recipe.layer, workload.options, dtype=recipe.dtype) != recipe:
        raise ExtractionError(
            f"the request asks for weights {recipe.weights[:12]} of {recipe.model}, this worker has "
            f"{model.weights[:12]}: its files were replaced; submit again, and where that does not help "
            "restart the service and its workers first"
        )
