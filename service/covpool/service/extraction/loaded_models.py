"""Loaded models: adapters in memory; the least recently used ones are unloaded for others."""

import gc
import logging
from collections import OrderedDict
from pathlib import Path

import psutil
import torch

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.adapters.registry import load_model
from covpool.extractor.models.models import Model

log = logging.getLogger(__name__)

#: Share of the device's memory that loaded models may take, when no number of bytes is set.
MODEL_SHARE = 0.5

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")


class LoadedModels:
    """Adapters on one device, loaded on first use.

    Args:
        device: torch's name of it; CUDA where there is one, by default.
        memory: bytes that the weights may take; half of the device's memory by default. One model is always
            kept.
    """

    def __init__(self, device: str | None = None, memory: int | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._memory = memory
        # In order of use, the most recent last.
        self._adapters: OrderedDict[tuple[str, str], tuple[Adapter, int]] = OrderedDict()

    def adapter(self, model: Model, dtype: str) -> Adapter:
        """A model ready to run in the compute dtype of a recipe.

        Raises:
            ExtractionError: it cannot be loaded.
        """
        named = (model.weights, dtype)
        if named not in self._adapters:
            self._make_room(_bytes_on_disk(model))
            adapter = load_model(model, device=str(self.device), dtype=dtype)
            self._adapters[named] = (adapter, _bytes(adapter))
            self._make_room(0)
        self._adapters.move_to_end(named)
        return self._adapters[named][0]

    @property
    def names(self) -> list[str]:
        """Names of the models in memory, the one used last at the end."""
        return [adapter.model.name for adapter, _ in self._adapters.values()]

    def device_memory(self) -> tuple[str, int, int]:
        """Torch's name of the device, and its memory in bytes: used, and in all."""
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            return str(self.device), total - free, total
        memory = psutil.virtual_memory()
        return str(self.device), memory.total - memory.available, memory.total

    def free_memory(self) -> None:
        """Release the memory that torch caches."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _make_room(self, wanted: int) -> None:
        """Unload the least recently used models until `wanted` bytes fit in addition to the others."""
        most = self._memory
        if most is None:
            most = int(MODEL_SHARE * self.device_memory()[2])
        keep = 0 if wanted else 1
        while len(self._adapters) > keep and wanted + sum(size for _, size in self._adapters.values()) > most:
            _, (adapter, _) = self._adapters.popitem(last=False)
            log.info("unloaded %s to make room", adapter.model.name)
            del adapter
            self.free_memory()


def _bytes(adapter: Adapter) -> int:
    """Bytes of the weights an adapter holds."""
    networks = [value for value in vars(adapter).values() if isinstance(value, torch.nn.Module)]
    return sum(tensor.nbytes for network in networks for tensor in network.state_dict().values())


def _bytes_on_disk(model: Model) -> int:
    folder: Path = model.checkpoint.directory
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHT_FILES)
