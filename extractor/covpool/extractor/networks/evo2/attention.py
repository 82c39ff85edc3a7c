"""Evo 2's attention over a preallocated cache of keys and values: each piece attends to all before it.

Convention: activations are (batch, position, channel), heads (batch, position, head, feature); positions are
absolute.
"""

from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right

from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.filters import wide
from covpool.extractor.networks.rotary import rotate


@dataclass
class KVCache:
    """Keys (after rotation) and values of all tokens so far, with memory allocated for all tokens.

    Attributes:
        keys, values: (b, all tokens, heads, features).
        length: number of tokens so far.
    """

    keys: Tensor
    values: Tensor
    length: int = 0


class Rotary(nn.Module):
    """Rotation of queries and keys by position, with the frequencies of the checkpoint."""

    inv_freq: Tensor

    def __init__(self, config: Evo2Config) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.empty(config.head_size // 2))
        self.scale = config.rotary_emb_scaling_factor

    def tables(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines (t, 1, features / 2), rounded to `dtype` as published, stored wide."""
        exact = self.inv_freq.dtype
        positions = torch.arange(start, stop, dtype=exact, device=self.inv_freq.device)
        angles = torch.outer(positions / self.scale, self.inv_freq)[:, None]
        return angles.cos().to(dtype).to(exact), angles.sin().to(dtype).to(exact)


class Attention(nn.Module):
    """Causal multi-head attention with rotary positions; `Wqkv` rows are (q|k|v, head, feature)."""

    def __init__(self, config: Evo2Config) -> None:
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        width = config.hidden_size
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)
        self.rotary_emb = Rotary(config)

    def start(self, batch: int, tokens: int) -> KVCache:
        """An empty cache for `tokens` tokens."""
        shape = batch, tokens, self.heads, self.head_size
        weight = self.Wqkv.weight
        return KVCache(weight.new_empty(shape), weight.new_empty(shape))

    def stages(self, x: Tensor, cache: KVCache) -> Generator[tuple[str, Tensor], None, Tensor]:
        """Yield `Wqkv` (before rotation) and the mixer's output for normed (b, t, d); return the output."""
        packed = self.Wqkv(x)
        yield "inner_mha_cls.Wqkv", packed
        batch, tokens, _ = x.shape
        start, stop = cache.length, cache.length + tokens
        query, key, value = packed.view(batch, tokens, 3, self.heads, self.head_size).unbind(2)
        cos, sin = self.rotary_emb.tables(start, stop, x.dtype)
        cache.keys[:, start:stop] = rotate(key.to(wide(x.dtype)), cos, sin)
        cache.values[:, start:stop] = value
        cache.length = stop
        query = rotate(query.to(wide(x.dtype)), cos, sin).to(x.dtype)
        mixed = attend(query, cache.keys[:, :stop], cache.values[:, :stop])
        y: Tensor = self.out_proj(mixed.reshape(batch, tokens, -1))
        yield "inner_mha_cls", y
        return y


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last t of n tokens: query (b, t, h, f) on key and value (b, n, h, f).

    Query i attends to the keys up to its own, n - t + i. On a CPU no mask is stored: for a million keys it
    would need gigabytes.
    """
    if query.device.type == "cpu":
        return _attend_on_cpu(query, key, value)
    if query.dtype in (torch.bfloat16, torch.float16) and find_spec("flash_attn_2_cuda") is not None:
        flash: Tensor = import_module("flash_attn").flash_attn_func(query, key, value, causal=True)
        return flash
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    mask = causal_lower_right(q.shape[2], k.shape[2])
    y: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2)


def _attend_on_cpu(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    before = k.shape[2] - q.shape[2]
    y, weight = _flash_on_cpu(q, k[:, :, before:], v[:, :, before:], causal=True)
    if before:
        # Softmaxes over two parts of the keys are combined by the logarithms of their sums.
        past, past_weight = _flash_on_cpu(q, k[:, :, :before], v[:, :, :before], causal=False)
        share = torch.sigmoid(weight - past_weight)[..., None].to(y.dtype)
        y = torch.lerp(past, y, share)
    return y.transpose(1, 2)


def _flash_on_cpu(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention (b, h, t, f), and the logarithm of each query's sum (b, h, t)."""
    # The public function runs the same kernel, but does not return the logarithms.
    y, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal)
    return y, weight
