"""Evo 2's causal filters, evaluated exactly, piece by piece with carried state.

Convention: activations are (batch, position, channel); filters work in at least float32 and round their
result to the compute dtype. Equations: StripedHyena 2 (Ku et al., 2025), as published in `vtx`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covpool.extractor.networks.evo2.config import Evo2Config

#: Positions per local FFT of the long filter.
LOCAL_TOKENS = 2048
#: Positions per block of its exponentials; tables exist for one block and for the starts of blocks.
BLOCK = 64


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which filters and rotations are computed."""
    return torch.promote_types(dtype, torch.float32)


def fast_length(least: int) -> int:
    """The smallest even number >= `least` without a prime factor above 5, for a fast FFT."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def correlate(x: Tensor, taps: Tensor) -> Tensor:
    """Depthwise correlation of (b, k - 1 + t, c) with (c, k) taps, wide; the last tap is for the newest."""
    length = x.shape[1] - taps.shape[1] + 1
    taps = taps.to(wide(x.dtype))
    y = x[:, :length] * taps[:, 0]
    for j in range(1, taps.shape[1]):
        y.addcmul_(x[:, j : j + length], taps[:, j])
    return y


@dataclass
class FilterState:
    """State of a Hyena block between the pieces of one batch.

    Attributes:
        short: last inputs of the short filter, (b, 2, 3 d).
        inner: last inputs of the inner filter, oldest first, (b, k - 1, d); for the long filter its modes
            (b, d, 16).
        spectrum: of the inner filter if an FFT applies it, (d or groups, frequencies).
    """

    short: Tensor
    inner: Tensor
    spectrum: Tensor | None = None


class HyenaFilter(nn.Module, ABC):
    """Short filter, gates, and an inner filter that subclasses define.

    Attributes:
        h: taps of the inner filter, which the long filter does not have.
    """

    h: nn.Parameter

    def __init__(self, config: Evo2Config) -> None:
        super().__init__()
        self.width = config.hidden_size
        taps = config.short_filter_length
        self.short_filter_weight = nn.Parameter(torch.empty(3 * self.width, 1, taps))

    def start(self, batch: int, piece: int) -> FilterState:
        """The state before the first token, for pieces of up to `piece` tokens."""
        weight = self.short_filter_weight
        short = weight.new_zeros(batch, weight.shape[-1] - 1, 3 * self.width)
        return FilterState(short, self._before(batch), self._spectrum(piece))

    def forward(self, z: Tensor, state: FilterState) -> Tensor:
        """Gated activations (b, t, d) of projections (b, t, 3 d); `state` advances by t tokens."""
        x = torch.cat((state.short, z), dim=1)
        state.short = x[:, z.shape[1] :].clone()
        y = correlate(x, self.short_filter_weight[:, 0]).to(z.dtype)
        del x
        # Channels interleave the gate after the filter, the gate before it, and the value.
        post, pre, value = y[..., 0::3], y[..., 1::3], y[..., 2::3]
        return post * self.convolve(pre * value, state)

    def _before(self, batch: int) -> Tensor:
        return self.h.new_zeros(batch, self.h.shape[-1] - 1, self.width)

    def _spectrum(self, piece: int) -> Tensor | None:
        return None

    @abstractmethod
    def convolve(self, q: Tensor, state: FilterState) -> Tensor:
        """The inner filter of gated values (b, t, d)."""


class ShortHyena(HyenaFilter):
    """HCS: a correlation with few taps, shared by groups of channels."""

    def __init__(self, config: Evo2Config) -> None:
        super().__init__(config)
        self.h = nn.Parameter(torch.empty(config.hcs_filter_groups, 1, config.hcs_filter_length))

    def convolve(self, q: Tensor, state: FilterState) -> Tensor:
        """See `HyenaFilter.convolve`."""
        x = torch.cat((state.inner, q), dim=1)
        state.inner = x[:, q.shape[1] :].clone()
        taps = self.h[:, 0].repeat_interleave(self.width // len(self.h), dim=0)
        return correlate(x, taps).to(q.dtype)


class MediumHyena(HyenaFilter):
    """HCM: a convolution with 128 taps (the first applies to the newest token), plus a direct term."""

    def __init__(self, config: Evo2Config) -> None:
        super().__init__(config)
        self.h = nn.Parameter(torch.empty(config.hcm_filter_groups, 1, config.hcm_filter_length))
        self.D = nn.Parameter(torch.empty(self.width))

    def _spectrum(self, piece: int) -> Tensor:
        taps = self.h[:, 0].to(wide(self.h.dtype))
        spectrum: Tensor = torch.fft.rfft(taps, n=fast_length(piece + taps.shape[-1] - 1))
        return spectrum

    def convolve(self, q: Tensor, state: FilterState) -> Tensor:
        """See `HyenaFilter.convolve`; the FFT wraps around only into the carried positions."""
        assert state.spectrum is not None
        batch, tokens, width = q.shape
        x = torch.cat((state.inner, q), dim=1)
        state.inner = x[:, tokens:].clone()
        groups, frequencies = state.spectrum.shape
        length, before = 2 * (frequencies - 1), self.h.shape[-1] - 1
        channels = x.transpose(1, 2).to(wide(q.dtype), memory_format=torch.contiguous_format)
        y = torch.fft.rfft(channels, n=length)
        y = y.view(batch, groups, width // groups, frequencies).mul_(state.spectrum[:, None])
        y = torch.fft.irfft(y.view(batch, width, frequencies), n=length)[..., before : before + tokens]
        # In float32 or wider, as published: the direct term is added before rounding.
        return torch.addcmul(y.transpose(1, 2), q, self.D.to(y.dtype)).to(q.dtype)


class LongHyena(HyenaFilter):
    """HCL: a sum of 16 decaying exponentials per channel, as long as the sequence, plus a direct term.

    A piece is cut into stretches of `local` tokens. Within a stretch the filter is an FFT; earlier tokens
    contribute through the modes S, S_t = exp(log_pole) S_(t-1) + q_t.
    """

    def __init__(self, config: Evo2Config) -> None:
        super().__init__(config)
        self.log_poles = nn.Parameter(torch.empty(self.width, config.state_size, 1))
        self.residues = nn.Parameter(torch.empty(self.width, config.state_size))
        self.D = nn.Parameter(torch.empty(self.width))
        self.local = LOCAL_TOKENS

    def _before(self, batch: int) -> Tensor:
        return self.residues.new_zeros(batch, *self.residues.shape)

    def _spectrum(self, piece: int) -> Tensor:
        local = min(piece, self.local)
        kernel = self._respond(self.residues[None], local)[0]
        spectrum: Tensor = torch.fft.rfft(kernel, n=fast_length(2 * local - 1))
        return spectrum

    def convolve(self, q: Tensor, state: FilterState) -> Tensor:
        """See `HyenaFilter.convolve`."""
        y = torch.empty_like(q)
        for start in range(0, q.shape[1], self.local):
            stretch = slice(start, start + self.local)
            y[:, stretch] = self._stretch(q[:, stretch], state)
        # Rounded before the direct term is added, as published.
        return y.addcmul_(q, self.D)

    def _stretch(self, q: Tensor, state: FilterState) -> Tensor:
        assert state.spectrum is not None
        tokens, length = q.shape[1], 2 * (state.spectrum.shape[-1] - 1)
        x = q.transpose(1, 2).to(self.residues.dtype, memory_format=torch.contiguous_format)
        y = torch.fft.irfft(torch.fft.rfft(x, n=length).mul_(state.spectrum), n=length)[..., :tokens]
        # One token after the end of the previous piece.
        carried = state.inner * self.residues * torch.exp(self.log_poles[..., 0])
        y += self._respond(carried, tokens)
        state.inner = state.inner * torch.exp(self.log_poles[..., 0] * tokens) + self._gather(x)
        mixed: Tensor = y.transpose(1, 2)
        return mixed

    def _respond(self, weights: Tensor, tokens: int) -> Tensor:
        """sum_s weights[s] exp(log_pole_s n) for n = 0 … tokens - 1: (b, d, tokens), of weights (b, d, 16).

        n = a BLOCK + m; the exponentials of a and of m are small tables, those of n would be large.
        """
        coarse = self._powers(-(-tokens // BLOCK), BLOCK)
        blocks = (weights[..., None] * coarse).mT @ self._powers(BLOCK)
        return blocks.flatten(-2)[..., :tokens]

    def _gather(self, x: Tensor) -> Tensor:
        """sum_t exp(log_pole_s (last - t)) x_t: (b, d, 16), of x (b, d, t)."""
        count = -(-x.shape[-1] // BLOCK)
        # Whole blocks, newest first, padded before the first token.
        padded = F.pad(x, (count * BLOCK - x.shape[-1], 0)).flip(-1)
        blocks = padded.view(*x.shape[:-1], count, BLOCK)
        modes: Tensor = (blocks @ self._powers(BLOCK).mT * self._powers(count, BLOCK).mT).sum(-2)
        return modes

    def _powers(self, count: int, step: int = 1) -> Tensor:
        """exp(log_pole step n) for n = 0 … count - 1: (d, 16, count)."""
        poles = self.log_poles
        return torch.exp(poles * torch.arange(0, count * step, step, device=poles.device, dtype=poles.dtype))
