"""Golden Evo 2 data: a tiny seeded network and what the published implementation computed from it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from covpool.extractor.networks.evo2 import Evo2
from covpool.extractor.networks.evo2_config import Evo2Config
from covpool.extractor.networks.evo2_schedules import Order, Schedule, run
from covpool.extractor.networks.evo2_weights import load

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "evo2"
CPU = torch.device("cpu")


def config(**changes: Any) -> dict[str, Any]:
    """The golden configuration, changed where asked; a field set to None is left out."""
    found: dict[str, Any] = json.loads((GOLDEN / "config.json").read_text()) | changes
    return {name: value for name, value in found.items() if value is not None}


@cache
def network(dtype: torch.dtype, plain_rotary: bool = False) -> Evo2:
    """The tiny golden network."""
    name = "config_plain_rotary.json" if plain_rotary else "config.json"
    parsed = Evo2Config.from_mapping(json.loads((GOLDEN / name).read_text()))
    return load(parsed, tensors("state_dict"), name).cast(CPU, dtype)


@cache
def tensors(name: str) -> dict[str, Tensor]:
    """A golden file."""
    return load_file(GOLDEN / f"{name}.safetensors")


@torch.inference_mode()
def activations(
    net: Evo2, ids: Tensor, names: frozenset[str], piece: int = 2**20, order: Order = "piece-major"
) -> dict[str, Tensor]:
    """Activations (b, T, width) of taps; the whole sequence in one piece unless asked otherwise."""
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for stage in run(net, ids, names, Schedule(order, piece)):
        arrived = sum(part.shape[1] for part in parts[stage.name])
        assert stage.start == arrived, "each token once and in order"
        parts[stage.name].append(stage.values)
    return {name: torch.cat(found, dim=1) for name, found in parts.items()}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Relative Frobenius distance, in float64."""
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm())
