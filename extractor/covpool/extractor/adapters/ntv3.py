"""NTv3 adapter: DNA to token ids, N padding to the network's multiple, taps as blocks."""

from collections.abc import Iterator
from collections.abc import Sequence as Names
from functools import partial
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from covpool.extractor.adapters.adapter import PART_BASES, Adapter, Block
from covpool.extractor.adapters.devices import token_budget
from covpool.extractor.models.models import Model
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3
from covpool.extractor.networks.ntv3.tiles import TiledForward
from covpool.extractor.networks.weights.checkpoint_weights import fill, read_weights
from covpool.extractor.sequences.sequences import Sequence, as_sequence

#: Published vocabulary: the order is A, T, C, G, N, not alphabetical.
TOKEN_IDS = {"A": 6, "T": 7, "C": 8, "G": 9, "N": 10}

_ID_OF_BYTE = np.zeros(256, dtype=np.uint8)
for _base, _id in TOKEN_IDS.items():
    _ID_OF_BYTE[ord(_base)] = _id

#: Activations of full resolution alive at once in a tile: inputs, norms and results of a block, and skips.
_LIVE_ACTIVATIONS = 12

#: Heads of post-trained checkpoints that read the final embedding; no tap depends on them.
_TASK_HEADS = ("bigwig_head.", "bed_head.", "conditions_heads.")


def token_ids(bases: str, length: int) -> Tensor:
    """Token ids (length,) uint8 of normalised bases, padded on the right with N (the authors' advice)."""
    padded = bases.ljust(length, "N")
    return torch.from_numpy(_ID_OF_BYTE[np.frombuffer(padded.encode("ascii"), np.uint8)])


def published_key(config: NTv3Config, key: str) -> str | None:
    """The name here of a published NTv3 key; None for a key that is not needed.

    Not needed are the rotary buffer, which is always computed here, and a post-trained model's task heads.
    """
    own_key = key.removeprefix("core.")
    if own_key.endswith(".rotary_embedding.inv_freq"):
        return None
    return None if config.conditions_vocab_size and own_key.startswith(_TASK_HEADS) else own_key


class NTv3Adapter(Adapter):
    """Runs an NTv3 network over sequences of any length, tile by tile, exactly.

    A sequence is padded with N to a multiple of 2^num_downsamples, and the padding's tokens are dropped:
    the tokens of the result are the sequence's own bases (its own N included), or at coarser layers the
    tokens that hold at least one of them. The last of those sees the padding, as the published model does.

    Args:
        model: the description.
        network: its network, on the device and in the compute dtype.
        tile: bp per tile; None chooses by the memory that is free when a forward begins.
        part: bp per part of a long sequence; tests take less.
    """

    def __init__(
        self, model: Model, network: NTv3, *, tile: int | None = None, part: int = PART_BASES
    ) -> None:
        self.model = model
        self.network = network.eval().requires_grad_(False)
        self.tile = tile
        self.part = part

    @classmethod
    def load(cls, model: Model, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The adapter of a described checkpoint, on `device` in `dtype`."""
        network = NTv3(cast(NTv3Config, model.config))
        files = model.checkpoint.weights
        published = read_weights(files, model.checkpoint.digests)
        fill(network, published, str(files[0]), rename=partial(published_key, network.config))
        return cls(model, network.cast(device, dtype))

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of the forward."""
        return self.network.embed_layer.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie and the blocks arrive."""
        return self.network.embed_layer.weight.device

    @property
    def budget(self) -> int:
        """Bases that one forward may hold: the tile if there is one, else by the free memory."""
        if self.tile is not None:
            return self.tile
        widest = max(self.network.config.widths[:2])
        return token_budget(self.device, _LIVE_ACTIVATIONS * widest * self.dtype.itemsize)

    @torch.inference_mode()
    def batch(
        self, sequences: Names[str | Sequence], *, layers: Names[str], condition: str = "", start: int = 0
    ) -> Iterator[tuple[int, Block]]:
        """Activations of several sequences in one forward; see `Adapter.batch`."""
        texts = [as_sequence(sequence).bases for sequence in sequences]
        taps = {layer.name: layer for layer in map(self.model.layer, layers)}
        multiple = self.network.config.multiple
        lengths = [-(-len(bases) // multiple) * multiple for bases in texts]
        ids = torch.stack([token_ids(bases, max(lengths)) for bases in texts]).to(self.device)
        forward = self._forward(len(texts))
        species = self._species(condition, len(texts))
        for stage in forward.run(ids, lengths, frozenset(taps), species, start=start):
            for index, bases in enumerate(texts):
                own = taps[stage.name].tokens(len(bases)) - stage.span[0]
                if own > 0:
                    yield index, Block(stage.name, stage.span[0], stage.values[index, :own])

    def _forward(self, members: int) -> TiledForward:
        return TiledForward(self.network, max(1, self.budget // members), part=self.part)

    def _species(self, condition: str, count: int) -> Tensor | None:
        self.model.check_condition(condition)
        if not condition:
            return None
        species = self.network.config.species_to_token_id[condition]
        return torch.full((count,), species, device=self.device)
