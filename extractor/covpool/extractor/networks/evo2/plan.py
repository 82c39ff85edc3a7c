"""Plan of an Evo 2 run: estimates of memory and arithmetic of each schedule, and the choice of a schedule.

Convention: bytes, and floating-point operations (a multiply-add is two).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from covpool.extractor.networks.evo2.config import Evo2Config, Kind
from covpool.extractor.networks.evo2.filters import LOCAL_TOKENS, fast_length

Order = Literal["piece-major", "layer-major"]
ORDERS: tuple[Order, ...] = ("piece-major", "layer-major")

#: Largest share of the free memory for the estimate of a chosen schedule.
SHARE = 0.9


@dataclass(frozen=True)
class Schedule:
    """Order of evaluation of a sequence.

    Attributes:
        order: the outer loop: pieces of the token axis, or layers.
        piece: tokens per step.
        host_residual: layer-major keeps the residual stream in host memory.
    """

    order: Order
    piece: int
    host_residual: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"schedule must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.piece < 1:
            raise ValueError(f"a piece holds at least one token, got {self.piece}")

    def __str__(self) -> str:
        return f"{self.order}, residual on the host" if self.host_residual else self.order


@dataclass(frozen=True)
class Work:
    """A run to estimate.

    Attributes:
        config: of the network.
        tokens: of the longest sequence.
        layers: requested taps.
        batch: sequences in one forward.
        itemsize: bytes per value of the compute dtype.
        streamed: the host stores the blocks' weights.
    """

    config: Evo2Config
    tokens: int
    layers: tuple[str, ...]
    batch: int = 1
    itemsize: int = 2
    streamed: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of the blocks that must run."""
        return self.config.kinds[: self.config.depth(self.config.last(self.layers))]

    @property
    def matmul_flops(self) -> int:
        """Operations of the linear maps, up to the deepest tap."""
        d, inner = self.config.hidden_size, self.config.inner_mlp_size
        per_token = sum(4 * d * d + 3 * d * inner for _ in self.kinds)
        if "unembed" in self.layers:
            per_token += self.config.vocab_size * d
        return 2 * per_token * self.tokens * self.batch

    @property
    def attention_flops(self) -> int:
        """Operations of causal attention, up to the deepest tap."""
        return 2 * self.config.hidden_size * self.tokens**2 * self.kinds.count("attn") * self.batch


@dataclass(frozen=True)
class Estimate:
    """Memory of one schedule, in bytes.

    Attributes:
        schedule: the schedule.
        weights: on the device during the run.
        cache: keys and values that exist at the same time.
        residual: the stored residual stream, on the device or the host.
        working: activations of a piece, filter spectra, and sums of the moments.
        host: bytes in host memory, if the host is not the device.
    """

    schedule: Schedule
    weights: int
    cache: int
    residual: int
    working: int
    host: int

    @property
    def beside_weights(self) -> int:
        """Bytes on the device in addition to the weights."""
        return self.cache + self.working + (0 if self.schedule.host_residual else self.residual)

    @property
    def device(self) -> int:
        """Total bytes on the device."""
        return self.weights + self.beside_weights


def estimate(work: Work, schedule: Schedule) -> Estimate:
    """The memory that `work` needs with a schedule."""
    config, tokens = work.config, work.tokens
    stream = work.batch * tokens * config.hidden_size * work.itemsize
    layer_major = schedule.order == "layer-major"
    attention = work.kinds.count("attn")
    blocks = [config.block_parameters(kind) for kind in config.kinds]
    resident = max(blocks) if work.streamed else sum(blocks)
    residual = stream if layer_major else 0
    return Estimate(
        schedule,
        weights=work.itemsize * (config.embedding_parameters + resident),
        cache=2 * stream * (min(attention, 1) if layer_major else attention),
        residual=residual,
        working=_working(work, schedule) + _sums(work),
        host=work.itemsize * sum(blocks) * work.streamed + residual * schedule.host_residual,
    )


def choose(work: Work, schedules: Iterable[Schedule], free: int) -> list[Schedule]:
    """Schedules to try in order: from the first that fits into `free` bytes; only the last if none fits."""
    candidates = list(schedules)
    for index, schedule in enumerate(candidates):
        if estimate(work, schedule).beside_weights <= SHARE * free:
            return candidates[index:]
    return candidates[-1:]


def schedules(piece: int, *, on_device: bool) -> list[Schedule]:
    """All schedules, the fastest first; a residual stream on the host requires a separate device."""
    every = [Schedule(order, piece) for order in ORDERS]
    return [*every, replace(every[-1], host_residual=True)] if on_device else every


def _sums(work: Work) -> int:
    widths = {name: width for name, width, _ in work.config.layers}
    return sum(8 * widths[name] ** 2 for name in work.layers) * work.batch


def bytes_per_token(config: Evo2Config, itemsize: int) -> int:
    """Bytes of simultaneous activations per token of a piece, in the widest step of a block."""
    d, inner, wide = config.hidden_size, config.inner_mlp_size, max(4, itemsize)
    # Stream, norm, projections and their filtered copies; the filter itself is wide.
    hyena = (2 + 3 + 3) * d * itemsize + (3 * d + 2 * d) * wide
    # Stream, norm, gate, value, and their product.
    feed_forward = (3 * d + 4 * inner) * itemsize
    return max(hyena, feed_forward)


def _working(work: Work, schedule: Schedule) -> int:
    config, wide = work.config, max(4, work.itemsize)
    piece = min(schedule.piece, work.tokens)
    local = min(piece, LOCAL_TOKENS)
    kinds = work.kinds
    spectra = {
        "hcl": config.hidden_size * (fast_length(2 * local - 1) + 2) * wide,
        "hcm": config.hcm_filter_groups * (fast_length(piece + config.hcm_filter_length - 1) + 2) * wide,
    }
    held = [kinds.count("hcl") * spectra["hcl"], kinds.count("hcm") * spectra["hcm"]]
    # One layer at a time: the larger of the two.
    kept = sum(held) if schedule.order == "piece-major" else max(*spectra.values())
    # The local FFT of the long filter: its input twice as long, in frequencies, and back.
    local_fft = work.batch * 4 * spectra["hcl"] * ("hcl" in kinds)
    return work.batch * piece * bytes_per_token(config, work.itemsize) + kept + local_fft
