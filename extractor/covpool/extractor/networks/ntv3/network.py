"""NTv3 network: U-Net of convolutions around a transformer, written from the published equations.

Convention: activations are (batch, position, channel) and contiguous; module and parameter names are the
published state-dict names below `core.`. Source: InstaDeep, bioRxiv 2025.12.22.695963.
"""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covpool.extractor.networks.ntv3.config import TOWER_EPS, NTv3Config, UpsampleType
from covpool.extractor.networks.rotary import rotate

STEM_KERNEL = 15
KERNEL = 5
UP_KERNEL = 3
FEED_FORWARD_TOKENS = 2048
ROTARY_BASE = 10_000.0


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, the only one NTv3 uses."""
    return F.gelu(x, approximate="tanh")


#: Zero positions to add on the left and on the right of a convolution's input.
Padding = tuple[int, int]


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """Correlate zero-padded (b, t, c_in) with a (c_out, c_in, k) kernel; the output is k - 1 shorter.

    The position-major layout is exactly a channels-last image of height one, for which CPU and GPU libraries
    have their fastest kernels; nothing is copied.
    """
    left, right = padding
    if left != right:
        x, left = F.pad(x, (0, 0, left, right)), 0
    image = x.transpose(1, 2).unsqueeze(2)
    weight = kernel.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return F.conv2d(image, weight, bias, padding=(0, left)).squeeze(2).transpose(1, 2)


class AdaptiveNorm(nn.LayerNorm):
    """Layer norm over channels; post-trained models shift and scale it by the condition (shift first).

    Below float32 the norm itself is computed in float32 from its float32 parameters, as published.
    """

    def __init__(self, width: int, eps: float, condition_width: int) -> None:
        super().__init__(width, eps)
        self.modulation_layers = _modulation(condition_width, 2 * width)

    def forward(self, input: Tensor, condition: Tensor | None = None) -> Tensor:
        y = super().forward(input.to(self.weight.dtype))
        if condition is not None:
            shift, scale = self.modulation_layers[0](condition.to(y.dtype)).unsqueeze(1).chunk(2, dim=-1)
            y = y * (1 + scale) + shift
        return y.to(input.dtype)


def _modulation(condition_width: int, width: int) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(condition_width, width)] if condition_width else [])


def _gate(x: Tensor, layers: nn.ModuleList, condition: Tensor | None) -> Tensor:
    if condition is None:
        return x
    gated: Tensor = x * (1 + layers[0](condition).unsqueeze(1)).to(x.dtype)
    return gated


class Convolution(nn.Conv1d):
    """A convolution over (b, t, c)."""

    def forward(self, input: Tensor, padding: Padding = (0, 0)) -> Tensor:
        return convolve(input, self.weight, self.bias, padding)


class Upsampling(nn.Module):
    """Doubling of the length followed by a kernel-5 correlation, computed in one step at the input's length.

    Each output phase (even, odd) depends on only three input positions, so both published kinds become one
    kernel-3 correlation with twice the channels, interleaved: `repeat+conv` repeats each position (kernel
    taps for the same input are added), `conv_transpose` puts data at odd positions between zeros.
    """

    def __init__(self, kind: UpsampleType, width_in: int, width_out: int) -> None:
        super().__init__()
        self.kind = kind
        # A transposed convolution is published as (in, out, k).
        published = nn.ConvTranspose1d if kind == "conv_transpose" else nn.Conv1d
        holder = published(width_in, width_out, KERNEL)
        self.weight, self.bias = holder.weight, holder.bias

    def forward(self, x: Tensor, padding: Padding) -> Tensor:
        if self.kind == "repeat+conv":
            k = self.weight.unbind(-1)
            even, odd = (k[0] + k[1], k[2] + k[3], k[4]), (k[0], k[1] + k[2], k[3] + k[4])
        else:
            k = self.weight.transpose(0, 1).unbind(-1)
            even, odd = (k[1], k[3], torch.zeros_like(k[0])), (k[0], k[2], k[4])
        kernel = torch.cat((torch.stack(even, -1), torch.stack(odd, -1)))
        assert self.bias is not None
        phases = convolve(x, kernel, self.bias.repeat(2), padding)
        batch, length, doubled = phases.shape
        return phases.reshape(batch, 2 * length, doubled // 2)


class NormConvolution(nn.Module):
    """Norm before convolution: the first half of every tower block.

    Positions beyond the end of a sequence must be zero after the norm: `padding` adds them if the tensor ends
    with the sequence, `mask` (b, t, 1) sets them if another sequence of the batch is longer.
    """

    def __init__(self, norm: AdaptiveNorm, conv: Convolution | Upsampling) -> None:
        super().__init__()
        self.layer_norm = norm
        self.conv = conv

    def forward(self, x: Tensor, condition: Tensor | None, padding: Padding, mask: Tensor | None) -> Tensor:
        y = self.layer_norm(x, condition)
        return gelu(self.conv(y if mask is None else y * mask, padding))


class Pointwise(nn.Module):
    """Norm, then a kernel-1 convolution, then GELU."""

    def __init__(self, norm: AdaptiveNorm, *, transposed: bool) -> None:
        super().__init__()
        self.layer_norm = norm
        width = norm.normalized_shape[0]
        # In the up tower this square kernel is published as (in, out, 1): a missing transpose gives no error.
        self.conv = (nn.ConvTranspose1d if transposed else nn.Conv1d)(width, width, 1)
        self.transposed = transposed

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        weight = self.conv.weight[:, :, 0]
        return gelu(
            F.linear(
                self.layer_norm(x, condition),
                weight.T if self.transposed else weight,
                self.conv.bias,
            )
        )


class PointwiseResidual(nn.Module):
    """x plus its pointwise branch, gated by the condition."""

    def __init__(self, width: int, condition_width: int, *, transposed: bool) -> None:
        super().__init__()
        norm = AdaptiveNorm(width, TOWER_EPS, condition_width)
        self.conv_block = Pointwise(norm, transposed=transposed)
        self.modulation_layers = _modulation(condition_width, width)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return x + _gate(self.conv_block(x, condition), self.modulation_layers, condition)


class TowerBlock(nn.Module):
    """One level of the down or up tower: convolution, then pointwise residual."""

    def __init__(self, conv: NormConvolution, res_conv: PointwiseResidual) -> None:
        super().__init__()
        self.conv = conv
        self.res_conv = res_conv

    def forward(
        self, x: Tensor, condition: Tensor | None, padding: Padding, mask: Tensor | None = None
    ) -> Tensor:
        y: Tensor = self.res_conv(self.conv(x, condition, padding, mask), condition)
        return y


class Projection(nn.Module):
    """One of query, key and value: a linear map under its published name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)


class Attention(nn.Module):
    """Bidirectional multi-head attention with rotary positions, half-split pairing, base 10,000."""

    def __init__(self, config: NTv3Config) -> None:
        super().__init__()
        self.heads, self.key_size = config.attention_heads, config.key_size
        width = config.embed_dim
        self.query_head, self.key_head, self.value_head = (Projection(width) for _ in range(3))
        self.mha_output = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        batch, length, width = x.shape
        # Logits, softmax and mixing are float32 or wider for every compute dtype, as published.
        wide = torch.promote_types(x.dtype, torch.float32)
        cos, sin = rotary_tables(length, self.key_size, wide, x.device)
        query, key, value = (
            head.linear(x).to(wide).view(batch, length, self.heads, self.key_size).transpose(1, 2)
            for head in (self.query_head, self.key_head, self.value_head)
        )
        mixed = F.scaled_dot_product_attention(
            rotate(query, cos, sin), rotate(key, cos, sin), value, attn_mask=keys
        )
        y: Tensor = self.mha_output(mixed.transpose(1, 2).reshape(batch, length, width).to(x.dtype))
        return y


def rotary_tables(
    length: int, key_size: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (length, key_size / 2); angles are float64 for every dtype of the result."""
    steps = torch.arange(0, key_size, 2, dtype=torch.float64, device=device) / key_size
    positions = torch.arange(length, dtype=torch.float64, device=device)
    angles = torch.outer(positions, ROTARY_BASE**-steps)
    return angles.cos().to(dtype), angles.sin().to(dtype)


class TransformerBlock(nn.Module):
    """Pre-norm attention and SwiGLU feed-forward; only the latter branch is gated by the condition."""

    def __init__(self, config: NTv3Config, condition_width: int) -> None:
        super().__init__()
        width, eps = config.embed_dim, config.layer_norm_eps
        self.self_attention_layer_norm = AdaptiveNorm(width, eps, condition_width)
        self.sa_layer = Attention(config)
        self.final_layer_norm = AdaptiveNorm(width, eps, condition_width)
        self.fc1 = nn.Linear(width, 2 * config.ffn_embed_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_embed_dim, width, bias=False)
        self.modulation_layers = _modulation(condition_width, width)

    def forward(self, x: Tensor, condition: Tensor | None, keys: Tensor | None = None) -> Tensor:
        """`keys` (b, 1, 1, t) is true where a position may be attended to; None for all of them."""
        x = x + self.sa_layer(self.self_attention_layer_norm(x, condition), keys)
        # Tokens are independent, so slices are used: the hidden layer of a megabase would be very large.
        slices = torch.split(x, FEED_FORWARD_TOKENS, dim=1)
        return torch.cat([self._feed_forward(part, condition) for part in slices], dim=1)

    def _feed_forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        gate, value = self.fc1(self.final_layer_norm(x, condition)).chunk(2, dim=-1)
        y: Tensor = x + _gate(self.fc2(F.silu(gate) * value), self.modulation_layers, condition)
        return y


class LanguageHead(nn.Module):
    """Logits over the alphabet from the last up block."""

    def __init__(self, config: NTv3Config) -> None:
        super().__init__()
        width = config.widths[0]
        hidden = range(config.num_hidden_layers_head)
        self.hidden_layers = nn.ModuleList(nn.Linear(width, width) for _ in hidden)
        self.head = nn.Linear(width, config.alphabet_size)

    def forward(self, x: Tensor) -> Tensor:
        x = gelu(x)
        for layer in self.hidden_layers:
            x = gelu(layer(x))
        logits: Tensor = self.head(x)
        return logits


class NTv3(nn.Module):
    """The whole network; `stages` runs it in one piece over a sequence and yields every tap."""

    def __init__(self, config: NTv3Config) -> None:
        super().__init__()
        self.config = config
        w, n = config.widths, config.num_downsamples
        cond = config.token_embed_dim if config.conditions_vocab_size else 0
        self.embed_layer = nn.Embedding(config.alphabet_size, config.token_embed_dim)
        self.stem = nn.ModuleDict({"conv": Convolution(config.token_embed_dim, w[0], STEM_KERNEL)})
        self.cond_tables = nn.ModuleList(
            nn.Embedding(size, config.token_embed_dim) for size in config.conditions_vocab_size
        )
        self.conv_tower_blocks = nn.ModuleList(
            TowerBlock(
                NormConvolution(AdaptiveNorm(w[i], TOWER_EPS, cond), Convolution(w[i], w[i + 1], KERNEL)),
                PointwiseResidual(w[i + 1], cond, transposed=False),
            )
            for i in range(n)
        )
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(config, cond) for _ in range(config.num_layers)
        )
        self.deconv_tower_blocks = nn.ModuleList(
            TowerBlock(
                NormConvolution(
                    AdaptiveNorm(w[i + 1], TOWER_EPS, cond),
                    Upsampling(config.deconv_upsample_type, w[i + 1], w[i]),
                ),
                PointwiseResidual(w[i], cond, transposed=True),
            )
            for i in reversed(range(n))
        )
        self.lm_head = LanguageHead(config)

    def cast(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move to a device and compute dtype; norms and their modulation are never narrower than float32."""
        self.to(device=device, dtype=dtype)
        for module in self.modules():
            if isinstance(module, AdaptiveNorm):
                module.to(torch.promote_types(dtype, torch.float32))
        return self

    def condition(self, species: Tensor | None) -> Tensor | None:
        """Embedding (b, c) of species ids (b,); None for a model without conditions."""
        return self.cond_tables[0](species) if species is not None else None

    def embed(self, ids: Tensor, padding: Padding, mask: Tensor | None = None) -> Tensor:
        """Stem activations of token ids (b, t); `padding` and `mask` as in `NormConvolution`."""
        y = self.embed_layer(ids)
        return gelu(self.stem["conv"](y if mask is None else y * mask, padding))

    def stages(self, ids: Tensor, species: Tensor | None = None) -> Iterator[tuple[str, Tensor]]:
        """Name and activations (b, t, c) of every tap, in order; the rest is not run if iteration stops.

        Args:
            ids: token ids (b, L), L a multiple of `config.multiple`; every position is real input.
            species: condition ids (b,) of a post-trained model.
        """
        cond = self.condition(species)
        x = self.embed(ids, _same(STEM_KERNEL))
        yield "stem", x
        skips = []
        for i, block in enumerate(self.conv_tower_blocks):
            skips.append(x)
            x = block(x, cond, _same(KERNEL))
            yield f"down.{i}", x
            x = average_pairs(x)
        for i, block in enumerate(self.transformer_blocks):
            x = block(x, cond)
            yield f"transformer.{i}", x
        for j, block in enumerate(self.deconv_tower_blocks):
            x = block(x, cond, _same(UP_KERNEL)) + skips.pop()
            yield f"up.{j}", x

    def forward(self, ids: Tensor, species: Tensor | None = None) -> Tensor:
        """Logits (b, L, alphabet) of the language-model head."""
        for _, x in self.stages(ids, species):  # noqa: B007
            pass
        logits: Tensor = self.lm_head(x)
        return logits


def _same(kernel: int) -> Padding:
    return kernel // 2, kernel // 2


def average_pairs(x: Tensor) -> Tensor:
    """Average pool of width and stride 2 over positions; the length must be even."""
    batch, length, width = x.shape
    return x.view(batch, length // 2, 2, width).mean(2)
