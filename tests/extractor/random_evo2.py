"""Seeded random weights of any Evo 2 shape, in the published layout: for tests and benchmarks."""

import torch
from torch import Tensor

from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.network import Evo2

#: Time constants of the long filters, in tokens.
SHORTEST, LONGEST = 1.5, 6000.0
ROTARY_BASE = 10_000.0


def random_weights(
    config: Evo2Config, seed: int, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Tensors by published key, such that activations stay of order one through any depth.

    Args:
        config: the shape.
        seed: gives the same weights on the same kind of device.
        device: where they are made.
        dtype: of all but poles, residues and frequencies, which are float32 as published.
    """
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in Evo2(config).state_dict().items()}
    generator = torch.Generator(device).manual_seed(seed)

    def uniform(shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def make(key: str, shape: torch.Size) -> Tensor:
        kind = key.rpartition(".")[2]
        if kind == "inv_freq":
            steps = torch.arange(shape[0], dtype=torch.float64, device=device) / shape[0]
            # Published files hold frequencies rounded to bfloat16.
            return (ROTARY_BASE**-steps).to(torch.bfloat16).float()
        if kind == "log_poles":
            constants: Tensor = SHORTEST * (LONGEST / SHORTEST) ** uniform(shape)
            return -1 / constants
        if kind == "residues":
            return (uniform(shape) - 0.5) / shape[-1]
        if kind == "scale":
            return (0.5 + uniform(shape)).to(dtype)
        if kind in ("bias", "D"):
            return (uniform(shape) - 0.5).to(dtype)
        # A uniform variable on (-1/2, 1/2) has variance 1/12.
        fan_in = 1 if key.startswith("embedding") else shape[-1]
        spread = float(12 / fan_in) ** 0.5
        weight: Tensor = (uniform(shape) - 0.5) * spread
        return weight.to(dtype)

    return {key: make(key, shape) for key, shape in shapes.items()}
