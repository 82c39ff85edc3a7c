"""Golden Evo 2 data: a tiny seeded network and what the published implementation computed from it."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.network import Evo2, load
from covpool.extractor.networks.evo2.plan import Order, Schedule
from covpool.extractor.networks.evo2.schedules import run

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


def checkpoint(directory: Path, **changes: Any) -> Path:
    """The golden network as a checkpoint directory, with a changed configuration where asked."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config(**changes)))
    (directory / "model.safetensors").write_bytes((GOLDEN / "state_dict.safetensors").read_bytes())
    return directory


def pickled(directory: Path, parts: int = 1, extra: Mapping[str, object] | None = None) -> Path:
    """The same as its publisher ships it: a yml, and one `.pt` file of `torch.save` or its parts."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yml").write_text(yaml.safe_dump(config()))
    file = directory / "tiny.pt"
    torch.save(tensors("state_dict") | dict(extra or {}), file)
    if parts > 1:
        data = file.read_bytes()
        file.unlink()
        for part in range(parts):
            cut = slice(part * len(data) // parts, (part + 1) * len(data) // parts)
            (directory / f"tiny.pt.part{part}").write_bytes(data[cut])
    return directory


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Relative Frobenius distance, in float64."""
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm())
