"""NTv3 adapter: DNA to token ids, N padding to the network's multiple, taps as blocks."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import Block
from covpool.extractor.models import Layer, Model
from covpool.extractor.networks.checkpoint_weights import load_published
from covpool.extractor.networks.ntv3 import NTv3
from covpool.extractor.networks.ntv3_config import NTv3Config

#: Published vocabulary: the order is A, T, C, G, N, not alphabetical.
TOKEN_IDS = {"A": 6, "T": 7, "C": 8, "G": 9, "N": 10}

_ID_OF_BYTE = np.zeros(256, dtype=np.uint8)
for _base, _id in TOKEN_IDS.items():
    _ID_OF_BYTE[ord(_base)] = _id


def token_ids(bases: str, multiple: int) -> Tensor:
    """Token ids (L,) of normalised bases, padded on the right with N to a multiple (the authors' advice)."""
    padded = bases + "N" * (-len(bases) % multiple)
    return torch.from_numpy(_ID_OF_BYTE[np.frombuffer(padded.encode("ascii"), np.uint8)])


#: Heads of post-trained checkpoints that read the final embedding; no tap depends on them.
_TASK_HEADS = ("bigwig_head.", "bed_head.", "conditions_heads.")


def published_key(config: NTv3Config, key: str) -> str | None:
    """Our name of a published NTv3 key; None for what is known and not needed.

    Not needed are the rotary buffer, which is always computed here, and a post-trained model's task heads.
    """
    ours = key.removeprefix("core.")
    if ours.endswith(".rotary_embedding.inv_freq"):
        return None
    return None if config.conditions_vocab_size and ours.startswith(_TASK_HEADS) else ours


class NTv3Adapter:
    """Runs an NTv3 network over one sequence at a time.

    A sequence is padded with N to a multiple of 2^num_downsamples, and the padding's tokens are dropped:
    the tokens of the result are the sequence's own bases (its own N included), or at coarser layers the
    tokens that hold at least one of them. The last of those sees the padding, as the published model does.
    """

    def __init__(self, model: Model, network: NTv3) -> None:
        self.model = model
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, model: Model, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The adapter of a described checkpoint, on `device` in `dtype`."""
        network = NTv3(cast(NTv3Config, model.config))
        load_published(network, model.checkpoint.weights, rename=partial(published_key, network.config))
        return cls(model, network.to(device=device, dtype=dtype))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every tap, in the order they are computed."""
        return self.model.layers

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of the forward."""
        return self.network.embed_layer.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie and the blocks arrive."""
        return self.network.embed_layer.weight.device

    @torch.inference_mode()
    def activations(self, bases: str, *, layers: Sequence[str]) -> Iterator[Block]:
        """Activations of one sequence; see `Adapter.activations`."""
        wanted = {self.model.layer(name).name: self.model.layer(name) for name in layers}
        ids = token_ids(bases, self.network.config.multiple).to(self.device).long()
        left = set(wanted)
        for name, values in self.network.stages(ids[None]):
            if name in left:
                yield Block(name, 0, values[0, : wanted[name].tokens(len(bases))])
                left.remove(name)
            if not left:
                return
