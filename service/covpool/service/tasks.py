"""Tasks: what a job runs; the one place where the extractor's results meet the store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction import extract_batch
from covpool.extractor.models import Model, Options
from covpool.extractor.sequences import Sequence
from covpool.store.keys import MomentsKey
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
        key: MomentsKey,
        bases: str,
        *,
        progress: Callable[[int], None] | None = None,
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        """Compute the moments of a key and cache them; `also` joins the transaction that makes them ready.

        Raises:
            ExtractionError: the model's weights changed since the key was made, or the sequence or the
                activations are unfit; nothing was cached.
            StoreError: the store refused; nothing was cached.
        """
        recipe = key.recipe
        options = Options.of(recipe)
        if model.recipe(recipe.layer, options, dtype=recipe.dtype) != recipe:
            raise ExtractionError(
                f"{key}: asks for weights {recipe.weights[:12]} of {recipe.model}, this worker has "
                f"{model.weights[:12]}; restart the workers after changing a model, then submit again"
            )
        adapter = self._adapter(model, recipe.dtype)
        sequence = Sequence(key.sequence[:12], bases)
        moments = extract_batch(adapter, [sequence], [recipe.layer], options, progress)[0][recipe.layer]
        self._store.put(key, moments.astype(STORED_DTYPE), also=also)

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
