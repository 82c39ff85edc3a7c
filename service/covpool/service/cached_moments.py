"""Moments of sequences through a store: what it lacks is extracted into it, the rest is read."""

from collections.abc import Callable, Iterable

from covpool.extractor.models import Model, Options
from covpool.extractor.sequences import Sequence
from covpool.service.tasks import Extraction
from covpool.store.keys import MomentsKey, Recipe
from covpool.store.moments import Moments
from covpool.store.zarr_store import Store


def cached_moments(
    store: Store,
    model: Model,
    layer: str | None,
    sequences: Iterable[Sequence],
    *,
    options: Options | None = None,
    dtype: str = "float32",
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Recipe, list[Moments]]:
    """The recipe, and the moments of each sequence in the order given.

    Args:
        store: read, and written where a sequence is missing.
        model, layer, options, dtype: the recipe.
        sequences: normalised; equal ones share an entry.
        device: of the network, which is loaded only when something is missing.
        progress: called with the number of sequences computed and to compute.

    Raises:
        ExtractionError, StoreError: see `Extraction.run` and `Store.get`.
    """
    recipe = model.recipe(layer, options, dtype=dtype)
    listed = list(sequences)
    keys = [MomentsKey(sequence.digest, len(sequence), recipe) for sequence in listed]
    missing = {key: one for key, one in zip(keys, listed, strict=True) if key not in store}
    computed = Extraction(store, device=device).run(model, recipe, list(missing.values())) if missing else ()
    for done, _ in enumerate(computed, start=1):
        if progress is not None:
            progress(done, len(missing))
    return recipe, [store.get(key) for key in keys]
