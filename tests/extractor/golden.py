"""Golden NTv3 data: tiny seeded networks and what the published implementations computed from them."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from covpool.extractor.adapters.ntv3 import published_key
from covpool.extractor.files.digests import file_digest
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3
from covpool.extractor.networks.weights.checkpoint_weights import fill, read_weights

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "ntv3"


@cache
def network(model: str, dtype: torch.dtype) -> NTv3:
    """Tiny network A, B or P of the golden data."""
    config = NTv3Config.from_json(json.loads((GOLDEN / f"tiny{model}_config.json").read_text()))
    found = NTv3(config)
    file = GOLDEN / f"tiny{model}_weights.safetensors"
    fill(found, read_weights([file], [file_digest(file)]), str(file), rename=partial(published_key, config))
    return found.to(dtype).eval().requires_grad_(False)


@cache
def tensors(name: str) -> dict[str, Tensor]:
    """A golden file."""
    return load_file(GOLDEN / f"{name}.safetensors")


def checkpoint(directory: Path, model: str = "A", **changes: Any) -> Path:
    """A checkpoint directory as a publisher ships it, with a changed config where asked."""
    directory.mkdir(parents=True, exist_ok=True)
    config = json.loads((GOLDEN / f"tiny{model}_config.json").read_text()) | changes
    config = {name: value for name, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").write_bytes((GOLDEN / f"tiny{model}_weights.safetensors").read_bytes())
    return directory


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())
