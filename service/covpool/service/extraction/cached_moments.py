"""Moments of sequences through a store: what it lacks is extracted into it, the rest is read."""

import logging
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered

from covpool.extractor.adapters.registry import load_model
from covpool.extractor.extraction.extract import extract_many
from covpool.extractor.models.models import Model, Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.extraction.tasks import STORED_DTYPE
from covpool.store.maintenance.healing import is_cached
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)


def cached_moments(
    store: Store,
    model: Model,
    layers: Ordered[str],
    sequences: Iterable[Sequence],
    *,
    options: Options | None = None,
    dtype: str = "float32",
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[Recipe, list[Moments]]]:
    """By layer, the recipe and the moments of each sequence in the order given.

    Args:
        store: read, and written where a sequence is missing.
        model, layers, options, dtype: the recipes; all layers are taken in one pass.
        sequences: normalised; equal ones share an entry.
        device: of the network, which is loaded only when something is missing.
        progress: called with the number of sequences computed and to compute.

    Raises:
        ExtractionError, StoreError: see `extract_many`, `Store.put` and `Store.get`.
    """
    recipes = {layer: model.recipe(layer, options, dtype=dtype) for layer in layers}
    listed = list(sequences)

    def key(one: Sequence, layer: str) -> MomentsKey:
        return MomentsKey(one.digest, len(one), recipes[layer])

    unique = {one.digest: one for one in listed}.values()
    # What does not read back counts as missing, and is computed again.
    missing = [
        one
        for one in unique
        if not all(is_cached(store, key(one, layer).digest, log.warning) for layer in layers)
    ]
    if missing:
        adapter = load_model(model, device=device, dtype=dtype)
        found = extract_many(adapter, missing, layers, options)
        for done, (index, moments) in enumerate(found, start=1):
            for layer in layers:
                store.put(key(missing[index], layer), moments[layer].astype(STORED_DTYPE))
            if progress is not None:
                progress(done, len(missing))
    return {layer: (recipes[layer], [store.get(key(one, layer)) for one in listed]) for layer in layers}
