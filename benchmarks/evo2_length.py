"""Time per token and memory of Evo 2 over sequence length, both schedules, a fresh process per point.

The network has seeded random weights: on a CPU one of 10 million parameters, on a GPU the shape of 7b. The
sequence is real E. coli DNA. Each point extracts the second moment of one residual layer, as the main job
does. Memory is the peak above what the process held once the network was loaded: resident on a CPU, allocated
on a GPU; beside it stands the plan's estimate, which counts tensors and not what an allocator keeps. The
peers are the naive forward of the same network in one piece, at the lengths where it fits, and the floor: the
point's matrix products and attention at the rates that the device reaches on those alone.

    python -m benchmarks.evo2_length --fasta genome.fa.gz
    python -m benchmarks.evo2_length --device cuda --dtype bfloat16 --shape 7b   # not run so far
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
from tests.extractor.random_evo2 import random_weights
from torch import Tensor
from torch.nn import functional as F

from covpool.extractor import Layer, Model, SecondMoment, read_fasta
from covpool.extractor.adapters.evo2 import MOST_TOKENS, Evo2Adapter
from covpool.extractor.models.checkpoints import Checkpoint
from covpool.extractor.models.families import FAMILIES
from covpool.extractor.networks.evo2.attention import attend
from covpool.extractor.networks.evo2.config import Evo2Config
from covpool.extractor.networks.evo2.filters import LongHyena
from covpool.extractor.networks.evo2.network import load
from covpool.extractor.networks.evo2.plan import Schedule, Work, estimate
from covpool.extractor.networks.evo2.published import PUBLISHED

EXAMPLE = Path(__file__).parent.parent / "examples" / "ecoli_320kb.fa.gz"
SEED = 0
MODES = ("piece-major", "layer-major", "naive")

SHAPES = {
    "10M": Evo2Config(
        hidden_size=256,
        num_layers=12,
        num_attention_heads=2,
        inner_mlp_size=704,
        attn_layer_idxs=(3, 10),
        hcs_layer_idxs=(0, 4, 7),
        hcm_layer_idxs=(1, 5, 8, 11),
        hcl_layer_idxs=(2, 6, 9),
        hcs_filter_groups=16,
        hcm_filter_groups=16,
        max_seqlen=2**20,
        rotary_emb_scaling_factor=128.0,
    ),
    "7b": PUBLISHED["evo2_7b"].config,
}
LAYERS = {"10M": "blocks.9", "7b": "blocks.28"}
LENGTHS = {"10M": (2048, 8192, 32_768, 131_072), "7b": (8192, 131_072, 262_144, 1_048_576)}
NAIVE_UP_TO = 32_768


def main() -> None:
    """Run every point and print the table."""
    options = _options()
    if options.point:
        print(json.dumps(measure(options)))
        return
    where = (
        torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    config, layer = SHAPES[options.shape], LAYERS[options.shape]
    print(
        f"Evo 2 {options.shape}, {config.parameter_count / 1e6:.1f} M parameters, {options.dtype}, {where}, "
        f"torch {torch.__version__}, layer {layer}, pieces of {_piece(options):,}"
    )
    print("   length         mode        s  us/token  tokens/s  x floor   MB above weights  estimate  adding")
    for length in options.lengths or LENGTHS[options.shape]:
        for mode in MODES:
            if mode == "naive" and length > options.naive_up_to:
                continue
            point = _in_fresh_process(options, length, mode)
            seconds = point["seconds"]
            print(
                f"{length:9,d} {mode:>12} {seconds:8.2f} {1e6 * seconds / length:9.1f} "
                f"{length / seconds:9.0f} {seconds / point['floor']:8.2f} {point['peak'] / 1e6:18.0f} "
                f"{point['estimate'] / 1e6:9.0f} {100 * point['adding'] / seconds:6.1f}%",
                flush=True,
            )
            if options.device == "cuda":
                rate = point["flops"] / seconds / 1e12
                print(
                    f"{'':23}{rate:.0f} TFLOP/s, utilisation {100 * rate / point['rate']:.0f} % of products'"
                )


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and bytes of one extraction in this process, its estimate, and the floor of its arithmetic."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    config, layer = SHAPES[options.shape], LAYERS[options.shape]
    bases = _bases(options.fasta, options.point)
    weights = random_weights(config, SEED, device=options.device, dtype=dtype)
    network = load(config, weights, "random").cast(device, dtype)
    weights.clear()
    naive = options.mode == "naive"
    piece = options.point if naive else _piece(options)
    schedule = Schedule("piece-major" if naive else options.mode, piece)
    if naive:
        for module in network.modules():
            if isinstance(module, LongHyena):
                module.local = piece
    adapter = Evo2Adapter(_described(config), network, order=schedule.order, piece=piece)
    list(adapter.activations("ACGT" * 64, layers=[layer]))
    total = SecondMoment(config.hidden_size, device=device)
    own = _held(device)
    adding = 0.0
    begun = _now(device)
    for block in adapter.activations(bases, layers=[layer]):
        before = _now(device)
        total.add(block.values)
        adding += _now(device) - before
    moments = total.moments()
    seconds = _now(device) - begun
    peak = _peak(device) - own
    assert moments.count == options.point
    work = Work(config, options.point, (layer,), itemsize=dtype.itemsize)
    products, attention = _rates(config, device, dtype, min(_piece(options), options.point), options.point)
    return {
        "seconds": seconds,
        "adding": adding,
        "peak": peak,
        "estimate": estimate(work, schedule).beside_weights,
        "flops": work.matmul_flops + work.attention_flops,
        "rate": products / 1e12,
        "floor": work.matmul_flops / products + work.attention_flops / attention,
    }


def _rates(
    config: Evo2Config, device: torch.device, dtype: torch.dtype, piece: int, length: int
) -> tuple[float, float]:
    """Operations per second of the network's linear maps, and of attention of pieces on half the sequence."""
    d, inner = config.hidden_size, config.inner_mlp_size
    x, hidden = (torch.randn(piece, width, device=device, dtype=dtype) for width in (d, inner))
    up, down, wide = (
        torch.randn(shape, device=device, dtype=dtype) for shape in ((inner, d), (d, inner), (3 * d, d))
    )

    def products() -> Iterator[Tensor]:
        yield F.linear(x, up)
        yield F.linear(x, up)
        yield F.linear(hidden, down)
        yield F.linear(x, wide)
        yield F.linear(x, up[:d])

    keys = max(piece, length // 2)
    heads = config.num_attention_heads, config.head_size
    query = torch.randn(1, piece, *heads, device=device, dtype=dtype)
    key, value = (torch.randn(1, keys, *heads, device=device, dtype=dtype) for _ in range(2))
    linear = 2 * piece * (4 * d * d + 3 * d * inner)
    seen = 4 * d * piece * (keys - piece / 2)
    return (
        linear / _fastest(lambda: list(products()), device),
        seen / _fastest(lambda: attend(query, key, value), device),
    )


@torch.inference_mode()
def _fastest(call: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(4):
        begun = _now(device)
        call()
        times.append(_now(device) - begun)
    return min(times)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _held(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _piece(options: argparse.Namespace) -> int:
    return int(options.piece or MOST_TOKENS[options.device])


def _bases(fasta: Path, length: int) -> str:
    bases = max((sequence.bases for sequence in read_fasta(fasta)), key=len)
    # A file shorter than asked for is read round and round.
    return (bases * (length // len(bases) + 1))[:length]


def _described(config: Evo2Config) -> Model:
    layers = tuple(Layer(*layer) for layer in config.layers)
    nowhere = Checkpoint("random", Path(), Path(), {}, FAMILIES["evo2"], (), {})
    return Model("random", nowhere, config, layers, "")


def _in_fresh_process(options: argparse.Namespace, length: int, mode: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.evo2_length", "--point", str(length), "--mode", mode]
    for name in ("shape", "dtype", "device", "fasta", "piece"):
        command += [f"--{name}", str(getattr(options, name))]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fasta", type=Path, default=EXAMPLE, help="its longest record is read")
    parser.add_argument("--shape", choices=SHAPES, default="10M")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--piece", type=int, default=0, help="tokens per step; the adapter's most by default")
    parser.add_argument("--naive-up-to", type=int, default=NAIVE_UP_TO)
    parser.add_argument("--point", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=MODES, default="piece-major", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
