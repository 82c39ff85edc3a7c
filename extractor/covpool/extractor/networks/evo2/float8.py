"""FP8 input projections, which the 1b, 20b and 40b checkpoints of Evo 2 require.

Transformer Engine does the arithmetic, with the scales stored in the checkpoint. It updates those scales only
while gradients are enabled, so in inference every row is computed independently and pieces stay exact.
Not run so far: it needs a GPU of compute capability 8.9.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covpool.extractor.errors import CheckpointError
from covpool.extractor.networks.evo2.network import Evo2, HyenaBlock

#: Transformer Engine requires a multiple of this number of rows.
ROWS = 16
#: Published recipe: E4M3 forward, history of 16 steps.
HISTORY = 16
CAPABILITY = (8, 9)


def check_available(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a model that needs FP8 if FP8 is not available.

    Raises:
        CheckpointError: FP8 is not available; the message has the reason and the remedy.
    """
    why = f"model {name}: its Hyena projections were trained in FP8 and give broken output in anything wider"
    if find_spec("transformer_engine") is None:
        raise CheckpointError(
            f"{why}; install transformer-engine[pytorch], or use a 7b model, which runs in bfloat16"
        )
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < CAPABILITY:
        raise CheckpointError(f"{why}; use a CUDA device of compute capability 8.9 or more, not {device}")
    if dtype != torch.bfloat16:
        raise CheckpointError(f"{why}; use dtype bfloat16, not {str(dtype).removeprefix('torch.')}")


def use_float8(network: Evo2, tensors: dict[str, Any]) -> None:
    """Replace the input projections of a loaded network by FP8 projections with the checkpoint's scales.

    Raises:
        CheckpointError: the checkpoint has no scales.
    """
    for index in range(network.config.num_layers):
        block = network.block(index)
        if isinstance(block, HyenaBlock):
            weight = block.projections.get_parameter("weight")
            key = f"blocks.{index}.projections._extra_state"
            if key not in tensors:
                raise CheckpointError(f"{key} is missing: without its FP8 scales the checkpoint cannot run")
            block.projections = Float8Projection(weight, tensors[key])


class Float8Projection(nn.Module):
    """A linear map in FP8 over (b, t, c), rows padded with zeros to a multiple of 16."""

    def __init__(self, weight: Tensor, scales: Any) -> None:
        super().__init__()
        engine = import_module("transformer_engine.pytorch")
        recipes = import_module("transformer_engine.common.recipe")
        rows, columns = weight.shape
        self.linear = engine.Linear(
            columns, rows, bias=False, params_dtype=weight.dtype, device=weight.device
        )
        self.linear.weight.data = weight
        self.linear.set_extra_state(scales)
        self.linear.requires_grad_(False)
        self._autocast = engine.fp8_autocast
        self._recipe = recipes.DelayedScaling(
            fp8_format=recipes.Format.HYBRID, amax_history_len=HISTORY, amax_compute_algo="max"
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        padded = F.pad(rows, (0, 0, 0, -len(rows) % ROWS))
        with torch.no_grad(), self._autocast(enabled=True, fp8_recipe=self._recipe):
            y: Tensor = self.linear(padded)
        return y[: len(rows)].view(*x.shape[:-1], -1)
