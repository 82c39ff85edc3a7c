"""Evo 2 network (StripedHyena 2): Hyena and attention blocks over a residual stream, with carried state.

Convention: activations are (batch, position, channel); module and parameter names are the published
state-dict names. A forward takes a piece of the token axis and the state after the previous piece.
Source: Brixi et al., "Genome modeling and design across all domains of life with Evo 2", 2025; `vtx` 1.1.0.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covpool.extractor.networks.evo2.attention import Attention, KVCache
from covpool.extractor.networks.evo2.config import Evo2Config, Kind
from covpool.extractor.networks.evo2.filters import (
    FilterState,
    HyenaFilter,
    LongHyena,
    MediumHyena,
    ShortHyena,
    wide,
)
from covpool.extractor.networks.weights.checkpoint_weights import fill

State = FilterState | KVCache
Stages = Iterator[tuple[str, Tensor]]
Steps = Generator[tuple[str, Tensor], None, Tensor]

#: Parameters and buffers that are never narrower than float32, as published.
WIDE = ("log_poles", "residues", "inv_freq")

#: Other content of published files: the tied embedding under a second name, FP8 metadata, time steps.
_OTHER = re.compile(
    r"unembed\.weight"
    r"|blocks\.\d+\.projections\._extra_state"
    r"|blocks\.\d+\.mixer\.dense\._extra_state"
    r"|blocks\.\d+\.mixer\.mixer\.filter\.t"
)

_FILTERS: dict[Kind, type[HyenaFilter]] = {"hcs": ShortHyena, "hcm": MediumHyena, "hcl": LongHyena}


class RMSNorm(nn.Module):
    """x over its root mean square, scaled; epsilon is added outside the root."""

    def __init__(self, config: Evo2Config) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(config.hidden_size))
        self.eps = config.eps

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        y: Tensor = self.scale * (x / (rms + self.eps))
        return y


class FeedForward(nn.Module):
    """Gated feed-forward; the gate is a GELU in the first block and the identity in all later ones."""

    def __init__(self, config: Evo2Config, index: int) -> None:
        super().__init__()
        d, inner = config.hidden_size, config.inner_mlp_size
        self.l1 = nn.Linear(d, inner, bias=False)
        self.l2 = nn.Linear(d, inner, bias=False)
        self.l3 = nn.Linear(inner, d, bias=False)
        self.gelu = index == 0

    def stages(self, x: Tensor) -> Steps:
        """Yield the outputs of the three maps, the last also under the module's name; return it."""
        gate = self.l1(x)
        yield "mlp.l1", gate
        value = self.l2(x)
        yield "mlp.l2", value
        y: Tensor = self.l3((F.gelu(gate) if self.gelu else gate) * value)
        del gate, value
        yield "mlp.l3", y
        yield "mlp", y
        return y


class Block(nn.Module, ABC):
    """Norm, mixer, norm, feed-forward; both halves are added to the residual stream."""

    def __init__(self, config: Evo2Config, index: int) -> None:
        super().__init__()
        self.pre_norm, self.post_norm = RMSNorm(config), RMSNorm(config)
        self.mlp = FeedForward(config, index)

    @abstractmethod
    def start(self, batch: int, tokens: int, piece: int) -> State:
        """The state before the first of `tokens` tokens, for pieces of at most `piece` tokens."""

    @abstractmethod
    def mix(self, x: Tensor, state: State) -> Steps:
        """Yield the steps of the mixer; return the output that is added to the residual stream."""

    def stages(self, x: Tensor, state: State) -> Stages:
        """Name and activations of every tap of the block, in order; "" is the residual stream after it.

        The rest is not computed if the caller stops iterating. `state` advances by the tokens of `x`.
        """
        y = self.pre_norm(x)
        yield "pre_norm", y
        y = yield from self.mix(y, state)
        x = x + y
        y = self.post_norm(x)
        yield "post_norm", y
        y = yield from self.mlp.stages(y)
        yield "", x + y


class HyenaBlock(Block):
    """A block whose mixer is a gated convolution."""

    def __init__(self, config: Evo2Config, index: int) -> None:
        super().__init__(config, index)
        d = config.hidden_size
        self.projections: nn.Module = nn.Linear(d, 3 * d, bias=False)
        self.filter = _FILTERS[config.kinds[index]](config)
        self.out_filter_dense = nn.Linear(d, d)

    def start(self, batch: int, tokens: int, piece: int) -> FilterState:
        """See `Block.start`."""
        return self.filter.start(batch, min(tokens, piece))

    def mix(self, x: Tensor, state: State) -> Steps:
        """See `Block.mix`."""
        assert isinstance(state, FilterState)
        y: Tensor = self.projections(x)
        yield "projections", y
        y = self.filter(y, state)
        yield "filter", y
        y = self.out_filter_dense(y)
        yield "out_filter_dense", y
        return y


class AttentionBlock(Block):
    """A block whose mixer is attention."""

    def __init__(self, config: Evo2Config, index: int) -> None:
        super().__init__(config, index)
        self.inner_mha_cls = Attention(config)

    def start(self, batch: int, tokens: int, piece: int) -> KVCache:
        """See `Block.start`."""
        return self.inner_mha_cls.start(batch, tokens)

    def mix(self, x: Tensor, state: State) -> Steps:
        """See `Block.mix`."""
        assert isinstance(state, KVCache)
        return self.inner_mha_cls.stages(x, state)


class Evo2(nn.Module):
    """The whole network; `schedules` runs it over sequences of any length."""

    def __init__(self, config: Evo2Config) -> None:
        super().__init__()
        self.config = config
        self.embedding_layer = nn.Embedding(config.vocab_size, config.hidden_size)
        kinds = enumerate(config.kinds)
        self.blocks = nn.ModuleList(
            (AttentionBlock if kind == "attn" else HyenaBlock)(config, index) for index, kind in kinds
        )
        self.norm = RMSNorm(config)

    def block(self, index: int) -> Block:
        """One block."""
        module = self.blocks[index]
        assert isinstance(module, Block)
        return module

    def head(self, x: Tensor) -> Stages:
        """The steps after the last block: the norm, and the logits by the tied embedding."""
        y = self.norm(x)
        yield "norm", y
        yield "unembed", y @ self.embedding_layer.weight.T

    def cast(self, device: torch.device, dtype: torch.dtype, *, blocks: torch.device | None = None) -> Self:
        """Move to a device and compute dtype; poles, residues and frequencies are never below float32.

        Args:
            device: where the network runs.
            dtype: the compute dtype.
            blocks: device that stores the blocks' weights, if another; `schedules` then moves one at a time.
        """
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            kept = wide(dtype) if name.rpartition(".")[2] in WIDE else dtype
            where = blocks if blocks is not None and name.startswith("blocks.") else device
            tensor.data = tensor.data.to(device=where, dtype=kept)
        return self


def published_key(key: str) -> str | None:
    """The network's name of a published key; None for known keys that are not weights."""
    return None if _OTHER.fullmatch(key) else key


def load(config: Evo2Config, tensors: Mapping[str, Any], where: str) -> Evo2:
    """The network of a configuration with a checkpoint's tensors, in their own dtypes, sharing memory.

    The file groups the rows of `Wqkv` as (head, q|k|v, feature), the network as (q|k|v, head, feature).

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    with torch.device("meta"):
        network = Evo2(config)
    fill(network, tensors, where, rename=published_key)
    for index in config.attn_layer_idxs:
        attention = network.block(index).get_submodule("inner_mha_cls")
        weight = attention.get_parameter("Wqkv.weight")
        heads = weight.data.view(config.num_attention_heads, 3, config.head_size, config.hidden_size)
        weight.data = heads.transpose(0, 1).reshape(weight.shape)
    return network.eval().requires_grad_(False)
