"""Controls that separate the model from the pooling: moments of tokens without any training.

`one_hot_windows` has no network, `RandomFeatures` has one random convolution, and `untrained_checkpoint` has
the evaluated network with random weights. The scores of their second moments are due to the pooling alone.
"""

import json
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from covpool.extractor.adapters.adapter import Adapter
from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.baselines import base_codes
from covpool.extractor.extraction.accumulate import SecondMoment
from covpool.store.storage.whole_files import write_whole
from covpool.store.values.moments import Moments

#: Bases on each side of its own that a token of `one_hot_windows` and `RandomFeatures` covers.
REACH = 16


def one_hot_windows(bases: str, reach: int = REACH) -> Tensor:
    """(bases, 4 (2 reach + 1)) float32: each token is the one-hot code of the bases around it."""
    padded = F.pad(_one_hot(bases), (0, 0, reach, reach))
    return padded.unfold(0, 2 * reach + 1, 1).flatten(1)


class RandomFeatures:
    """Tokens of one random convolution with ReLU (He's normal weights), drawn from a seed.

    Args:
        width: features of a token.
        seed: of the weights.
        reach: bases covered on each side.
    """

    def __init__(self, width: int, *, seed: int = 0, reach: int = REACH) -> None:
        size = 2 * reach + 1
        generator = torch.Generator().manual_seed(seed)
        # One base of four is set at each place, so `size` inputs are not zero.
        self.kernel = torch.randn(width, 4, size, generator=generator) * (2 / size) ** 0.5
        self.bias = torch.randn(width, generator=generator)

    @torch.inference_mode()
    def __call__(self, bases: str) -> Tensor:
        """(bases, width) float32."""
        image = _one_hot(bases).T[None]
        padding = self.kernel.shape[-1] // 2
        return F.conv1d(image, self.kernel, self.bias, padding=padding)[0].T.relu()


def token_moments(tokens: Iterable[Tensor]) -> Iterator[Moments]:
    """Moments of each (tokens, width) matrix, in float32 as in a store."""
    for matrix in tokens:
        total = SecondMoment(matrix.shape[1])
        total.add(matrix)
        yield total.moments().astype(np.float32)


def untrained_checkpoint(adapter: Adapter, directory: str | PathLike[str], *, seed: int = 0) -> Path:
    """Write the adapter's network with fresh random weights as a checkpoint directory, and return it.

    Weights are drawn as the network's own constructor draws them, from `seed`; the directory is named after
    the model. The same model and seed give the same weights, so their moments stay cached.

    Raises:
        EvaluationError: the family's network cannot be built from its configuration alone.
    """
    network = getattr(adapter, "network", None)
    if not isinstance(network, torch.nn.Module):
        raise EvaluationError(
            f"model {adapter.model.name}: its adapter has no network that can be built with random weights; "
            "evaluate without the untrained control"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            fresh = type(network)(adapter.model.config)
        except TypeError as error:
            raise EvaluationError(
                f"model {adapter.model.name}: its network cannot be built from its configuration ({error}); "
                "evaluate without the untrained control"
            ) from error
    target = Path(directory) / f"{Path(adapter.model.name).name}-untrained-{seed}"
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in fresh.state_dict().items()}
    write_whole(target / "model.safetensors", save(weights, metadata={"format": "pt"}))
    (target / "config.json").write_text(json.dumps(dict(adapter.model.checkpoint.config)), encoding="utf-8")
    card = {
        "default_layer": adapter.model.default_layer,
        "summary": f"the network of {adapter.model.name} with random weights: a control",
        "trained": False,
    }
    (target / "covpool.json").write_text(json.dumps(card), encoding="utf-8")
    return target


def _one_hot(bases: str) -> Tensor:
    codes = torch.from_numpy(base_codes(bases))
    return F.one_hot(codes.clamp_min(0), 4) * (codes >= 0)[:, None].float()
