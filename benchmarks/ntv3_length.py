"""Time per base and memory of NTv3 over sequence length, tiled against untiled, a fresh process per point.

The network has the shape of a published checkpoint and seeded random weights; the sequence is real E. coli
DNA. Each point extracts the second moment of the last layer, as the main job does. Memory is the peak above
what the process held once the model was loaded: resident on a CPU, allocated on a GPU. The peer is the
untiled forward of the same network, at the lengths where it fits.

    python benchmarks/ntv3_length.py --fasta genome.fa.gz
    python benchmarks/ntv3_length.py --device cuda --dtype bfloat16 --shape 650M
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from covpool.extractor import Model, SecondMoment, describe, read_fasta
from covpool.extractor.adapters.ntv3 import NTv3Adapter, token_ids
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3

EXAMPLE = Path(__file__).parent.parent / "examples" / "ecoli_320kb.fa.gz"
LENGTHS = (16_384, 65_536, 131_072, 262_144, 524_288, 1_048_576)
UNTILED_UP_TO = 131_072
SEED = 0

#: Widths, layers, heads and feed-forward of the published shapes (the larger two inferred from their size).
SHAPES = {"8M": (256, 2, 8, 1024), "100M": (768, 6, 12, 3072), "650M": (1536, 12, 24, 6144)}


def main() -> None:
    """Run every point and print the table with its ratios."""
    options = _options()
    if options.point:
        print(json.dumps(measure(options)))
        return
    where = (
        torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"NTv3 {options.shape}, {options.dtype}, {where}, torch {torch.__version__}, layer up.6")
    print("   length    mode  s       us/base  kb/s  peak MB above the model's own")
    found: dict[tuple[int, str], dict[str, float]] = {}
    for length in options.lengths:
        modes = ["tiled"] + (["untiled"] if length <= options.untiled_up_to else [])
        for mode in modes:
            point = found[length, mode] = _in_fresh_process(options, length, mode)
            rate = point["seconds"] / length
            print(
                f"{length:9,d} {mode:>7} {point['seconds']:7.2f} {1e6 * rate:8.2f} {1e-3 / rate:6.1f} "
                f"{point['peak'] / 1e6:8.0f}",
                flush=True,
            )
        if len(modes) == 2:
            tiled, untiled = found[length, "tiled"], found[length, "untiled"]
            print(
                f"          tiled / untiled: time {tiled['seconds'] / untiled['seconds']:.2f}, "
                f"memory {tiled['peak'] / untiled['peak']:.2f}"
            )
    short, long = found.get((131_072, "tiled")), found.get((1_048_576, "tiled"))
    if short and long:
        print(
            "131,072 to 1,048,576 bp, tiled: "
            f"time per base x {long['seconds'] / 8 / short['seconds']:.2f}, "
            f"peak memory x {long['peak'] / short['peak']:.2f}"
        )


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds, and peak bytes above the loaded model, of one extraction in this process."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    bases = _bases(options.fasta, options.point)
    torch.manual_seed(SEED)
    network = NTv3(_config(options.shape)).cast(device, dtype)
    adapter = NTv3Adapter(_described(), network)
    layer = f"up.{network.config.num_downsamples - 1}"
    total = SecondMoment(network.config.widths[0], device=device)
    own = _held(device)
    begun = time.perf_counter()
    if options.mode == "tiled":
        for block in adapter.activations(bases, layers=[layer]):
            total.add(block.values)
    else:
        with torch.inference_mode():
            ids = token_ids(bases, len(bases)).to(device).long()[None]
            for name, values in network.stages(ids):
                if name == layer:
                    total.add(values[0])
    moments = total.moments()
    seconds = time.perf_counter() - begun
    assert moments.count == options.point
    return {"seconds": seconds, "peak": _peak(device) - own}


def _held(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bases(fasta: Path, length: int) -> str:
    bases = max((sequence.bases for sequence in read_fasta(fasta)), key=len)
    # A file shorter than asked for is read round and round.
    return (bases * (length // len(bases) + 1))[:length]


def _described() -> Model:
    # The adapter asks its description for layer names and resolutions only; those are of any 7-level NTv3.
    return describe("ntv3-mini")


def _config(shape: str) -> NTv3Config:
    width, layers, heads, hidden = SHAPES[shape]
    return NTv3Config(
        alphabet_size=11,
        token_embed_dim=16,
        conv_init_embed_dim=width,
        embed_dim=width,
        num_downsamples=7,
        num_layers=layers,
        attention_heads=heads,
        key_size=width // heads,
        ffn_embed_dim=hidden,
        layer_norm_eps=1e-5,
        deconv_upsample_type="repeat+conv",
    )


def _in_fresh_process(options: argparse.Namespace, length: int, mode: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--point", str(length), "--mode", mode]
    for name in ("shape", "dtype", "device", "fasta"):
        command += [f"--{name}", str(getattr(options, name))]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fasta", type=Path, default=EXAMPLE, help="its longest record is read")
    parser.add_argument("--shape", choices=SHAPES, default="8M")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--untiled-up-to", type=int, default=UNTILED_UP_TO)
    parser.add_argument("--point", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=["tiled", "untiled"], default="tiled", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
