"""Tasks: what a job runs; the one place where the extractor's results meet the store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy.engine import Connection

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction import extract_many
from covpool.extractor.models import Model, Options
from covpool.extractor.sequences import Sequence
from covpool.store.keys import MomentsKey, Recipe
from covpool.store.zarr_store import Store

#: Dtype in which moments are cached; sums are float64 until then.
STORED_DTYPE = "float32"


class Extraction:
    """Runs keys through adapters, loaded on first use, and puts the moments into a store."""

    def __init__(self, store: Store, *, device: str | None = None) -> None:
        self._store = store
        self._device = device
        self._adapters: dict[tuple[str, str], Adapter] = {}

    def run(
        self,
        model: Model,
        recipe: Recipe,
        sequences: list[Sequence],
        *,
        progress: Callable[[int], None] | None = None,
        also: Callable[[MomentsKey, Connection], None] | None = None,
    ) -> Iterator[MomentsKey]:
        """Compute the moments of sequences and cache them; yields each key once it is cached.

        Short sequences share a forward, so keys come in another order than the sequences.

        Args:
            model: the model the recipe names.
            recipe: of all the keys.
            sequences: normalised.
            progress: called with the number of tokens done since the last call.
            also: joins the transaction that makes a key's moments ready.

        Raises:
            ExtractionError: the model's weights changed since the recipe was made, or a sequence or its
                activations are unfit; nothing was cached of the sequences not yielded.
            StoreError: the store refused; the same holds.
        """
        options = Options.of(recipe)
        if model.recipe(recipe.layer, options, dtype=recipe.dtype) != recipe:
            raise ExtractionError(
                f"the request asks for weights {recipe.weights[:12]} of {recipe.model}, this worker has "
                f"{model.weights[:12]}; restart the workers after changing a model, then submit again"
            )
        adapter = self._adapter(model, recipe.dtype)
        for index, found in extract_many(adapter, sequences, [recipe.layer], options, progress):
            key = MomentsKey(sequences[index].digest, len(sequences[index]), recipe)
            ending = None if also is None else partial(also, key)
            self._store.put(key, found[recipe.layer].astype(STORED_DTYPE), also=ending)
            yield key

    def _adapter(self, model: Model, dtype: str) -> Adapter:
        if (model.weights, dtype) not in self._adapters:
            self._adapters[model.weights, dtype] = load_model(model, device=self._device, dtype=dtype)
        return self._adapters[model.weights, dtype]


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Run `call` in a thread every so many seconds while the body runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            call()

    thread = threading.Thread(target=loop, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
