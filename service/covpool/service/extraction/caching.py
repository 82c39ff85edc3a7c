"""Caching: computes in this process what a store lacks and puts it there, pack by pack."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from covpool.extractor.extraction.packs import packs
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.sequences import Sequence as Bases
from covpool.service.extraction.engine import Engine, Progress
from covpool.service.extraction.patience import Row, settle
from covpool.service.processes.faults import Fault
from covpool.store.maintenance.healing import is_cached
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)


def cache(
    engine: Engine,
    model: Model,
    workloads: Sequence[Workload],
    *,
    again: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Fault | None]]:
    """Index of each workload when its results are in the engine's store, or with its own fault.

    The longest come first. During an outage of the storage, the call waits.

    Args:
        engine: computes the moments.
        model, workloads, progress: see `Engine.moments`.
        again: compute ready results too, and replace those that have other bits.

    Raises:
        OutsideFault, StoreError: no workload is at fault.
    """

    def compute(indices: list[int], share: float) -> list[Row]:
        chosen = [workloads[index] for index in indices]
        with engine.faults():
            computed = engine.moments(model, chosen, again=again, share=share, progress=progress)
            return [row for _, moments in computed for row in moments.items()]

    over = threading.Event()
    for pack in packs([workload.length for workload in workloads], model, engine.models.device.type):
        yield from settle(engine.store, pack, compute, over, replace=again)


def cached_moments(
    store: Store,
    model: Model,
    layers: Sequence[str],
    sequences: Iterable[Bases],
    *,
    options: Options | None = None,
    dtype: str = "float32",
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[Recipe, list[Moments]]]:
    """By layer, the recipe and the moments of each sequence in order; missing ones are cached first.

    Args:
        store: read, and written where a sequence is missing or damaged.
        model, layers, options, dtype: the recipes; all layers are taken in one forward.
        sequences: normalised; equal sequences share an entry.
        device: of the network, which is loaded only when something is missing.
        progress: called with the number of sequences computed and to compute.

    Raises:
        Fault: a sequence cannot be computed, or the store refused.
        StoreError: see `Store.get`.
    """
    recipes = [model.recipe(layer, options, dtype=dtype) for layer in layers]
    listed = list(sequences)
    distinct = {sequence.digest: sequence for sequence in listed}
    keys = {name: [MomentsKey(name, len(bases), key) for key in recipes] for name, bases in distinct.items()}
    missing = [
        Workload.of(bases, recipes)
        for name, bases in distinct.items()
        if not all(is_cached(store, key.digest, log.warning) for key in keys[name])
    ]
    if missing:
        for done, (_, fault) in enumerate(cache(Engine(store, device=device), model, missing), start=1):
            if fault is not None:
                raise fault
            if progress is not None:
                progress(done, len(missing))
    return {
        layer: (recipe, [store.get(keys[sequence.digest][place]) for sequence in listed])
        for place, (layer, recipe) in enumerate(zip(layers, recipes, strict=True))
    }
