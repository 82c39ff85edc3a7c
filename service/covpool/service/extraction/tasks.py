"""Tasks: what a job runs; the one place where the extractor's results meet the store."""

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.errors import ExtractionError
from covpool.extractor.extraction.extract import extract_many, extract_regions
from covpool.extractor.extraction.parts import PART_BASES
from covpool.extractor.extraction.regions import Region, keys_of
from covpool.extractor.models.models import Model, Options
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.extraction.keeping import Keeping
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)

#: Dtype in which moments are cached; sums are float64 until then.
STORED_DTYPE = "float32"
#: Share of the device's memory that loaded models may take, when no number of bytes is set.
MODEL_SHARE = 0.5

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out; torch has no class of its own for the CPU's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = ("can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


class Extraction:
    """Runs keys through adapters, loaded on first use, and puts the moments into a store.

    Args:
        store: where moments go.
        device: torch's name of it; CUDA where there is one, by default.
        model_memory: bytes that the weights of loaded models may take; those used least recently make
            room. Half of the device's memory by default. One model is always kept.
        keep_s: how often the sums of a long sequence are kept, in seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        device: str | None = None,
        model_memory: int | None = None,
        keep_s: float = 60.0,
    ) -> None:
        self._store = store
        self._keeping = Keeping(store, keep_s)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model_memory = model_memory
        # The one used last comes last.
        self._adapters: OrderedDict[tuple[str, str], tuple[Adapter, int]] = OrderedDict()

    def run(
        self,
        model: Model,
        recipe: Recipe,
        sequences: list[Sequence],
        *,
        replacing: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[MomentsKey]:
        """Compute the moments of whole sequences and cache them; yields each key once it is cached.

        Arguments, order and errors as in `moments`; `replacing` also replaces what is cached with other bits.

        Raises:
            StoreError: the store refused; nothing was cached of the sequences not yielded.
        """
        for _, found in self.moments(model, recipe, sequences, progress=progress):
            for key, moments in found.items():
                self._store.put(key, moments.astype(STORED_DTYPE), replace=replacing)
                yield key

    def moments(
        self,
        model: Model,
        recipe: Recipe,
        sequences: list[Sequence],
        *,
        layers: Ordered[str] | None = None,
        regions: list[Ordered[Region]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, dict[MomentsKey, Moments]]]:
        """Compute the moments of sequences, float64: each one's index, with all of its results by key.

        Short sequences share a forward, so they come in another order than they are given.

        Args:
            model: the model the recipe names.
            recipe: of the whole sequences, at one of the layers.
            sequences: normalised.
            layers: taken in one forward; that of the recipe by default.
            regions: classes of each sequence; the whole by default.
            progress: called with the number of tokens done since the last call, over layers and strands.

        Raises:
            ExtractionError: the model's weights changed since the recipe was made, or a sequence or its
                activations are unfit.
        """
        if not sequences:
            return
        options = Options.of(recipe)
        if model.recipe(recipe.layer, options, dtype=recipe.dtype) != recipe:
            raise ExtractionError(
                f"the request asks for weights {recipe.weights[:12]} of {recipe.model}, this worker has "
                f"{model.weights[:12]}: its files were replaced; submit again, and where that does not help "
                "restart the service and its workers first"
            )
        adapter = self._adapter(model, recipe.dtype)
        taps = [recipe.layer] if layers is None else layers
        recipes = {layer: replace(recipe, layer=layer) for layer in taps}
        asked = regions or [(Region.whole(len(one)),) for one in sequences]

        def keys(index: int) -> dict[tuple[str, str], MomentsKey]:
            one = sequences[index]
            return keys_of(asked[index], one.digest, len(one), recipes, model, options)

        # Of long ones what is known is kept on the way; they share no forward anyway.
        long = [index for index, one in enumerate(sequences) if len(one) > PART_BASES]
        for index in sorted(long, key=lambda index: -len(sequences[index])):
            named = keys(index)
            (found,) = extract_regions(
                adapter,
                [(sequences[index], asked[index])],
                taps,
                options,
                progress,
                kept=self._keeping.kept(named),
                keep=self._keeping.keep(named),
            )
            yield index, _by_key(found, named)
        rest = [index for index in range(len(sequences)) if index not in long]
        for place, found in extract_many(
            adapter,
            [sequences[index] for index in rest],
            taps,
            options,
            progress,
            regions=[asked[index] for index in rest],
        ):
            yield rest[place], _by_key(found, keys(rest[place]))

    def load(self, model: Model, recipe: Recipe) -> None:
        """Have the model in memory that a recipe is computed with.

        Raises:
            ExtractionError: it cannot be loaded.
        """
        self._adapter(model, recipe.dtype)

    def device_memory(self) -> tuple[str, int, int]:
        """Torch's name of the device, and its memory in bytes: used, and in all."""
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            return str(self._device), total - free, total
        memory = psutil.virtual_memory()
        return str(self._device), memory.total - memory.available, memory.total

    def free_memory(self) -> None:
        """Give back what torch keeps in reserve."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def loaded(self) -> list[str]:
        """Names of the models in memory, the one used last at the end."""
        return [adapter.model.name for adapter, _ in self._adapters.values()]

    def _adapter(self, model: Model, dtype: str) -> Adapter:
        named = (model.weights, dtype)
        if named not in self._adapters:
            self._make_room(_bytes_on_disk(model))
            adapter = load_model(model, device=str(self._device), dtype=dtype)
            self._adapters[named] = (adapter, _bytes(adapter))
            self._make_room(0)
        self._adapters.move_to_end(named)
        return self._adapters[named][0]

    def _make_room(self, wanted: int) -> None:
        """Unload the models used least recently until so many bytes fit beside the others."""
        most = self._model_memory
        if most is None:
            most = int(MODEL_SHARE * self.device_memory()[2])
        keep = 0 if wanted else 1
        while len(self._adapters) > keep and wanted + sum(size for _, size in self._adapters.values()) > most:
            _, (adapter, _) = self._adapters.popitem(last=False)
            log.info("unloaded %s to make room", adapter.model.name)
            del adapter
            self.free_memory()


def _by_key(
    found: Mapping[str, Mapping[str, Moments]], keys: Mapping[tuple[str, str], MomentsKey]
) -> dict[MomentsKey, Moments]:
    return {
        keys[layer, name]: moments for layer, classes in found.items() for name, moments in classes.items()
    }


def _bytes(adapter: Adapter) -> int:
    """Bytes of the weights an adapter holds."""
    networks = [value for value in vars(adapter).values() if isinstance(value, torch.nn.Module)]
    return sum(tensor.nbytes for network in networks for tensor in network.state_dict().values())


def _bytes_on_disk(model: Model) -> int:
    folder: Path = model.checkpoint.directory
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHT_FILES)
