"""Pre-train an NTv3 network as a masked language model on genomes; the recipe of the bundled `ntv3-mini`.

Writes to --out: state.pt (resume with --resume), curve.csv, curve.png, config.json and model.safetensors.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import torch

from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.adapters.registry import load_adapter
from covpool.extractor.models.checkpoints import bundled_directory, read_mapping
from covpool.extractor.networks.ntv3.config import NTv3Config
from covpool.extractor.networks.ntv3.network import NTv3
from pretraining import curve
from pretraining.genomes import read_genomes, split
from pretraining.training import Budget, Settings, Training, learning_rate, release, watch

DATA = Path("../shared/data")
GENOMES = {
    "ecoli": DATA / "ecoli/GCF_000005845.2_ASM584v2_genomic.fna.gz",
    "yeast": DATA / "yeast/genome.fa.gz",
    "dmelanogaster": DATA / "introns/dmelanogaster.1pct.fa.gz",
    "celegans": DATA / "introns/celegans.1pct.fa.gz",
    "athaliana": DATA / "introns/athaliana.1pct.fa.gz",
}
#: Seed of the held-out blocks, apart from the run's own seed: evaluation must find the same blocks.
SPLIT_SEED = 1


def named_path(text: str) -> tuple[str, Path]:
    """Parse NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def add_genome_options(parser: argparse.ArgumentParser) -> None:
    """The genomes, as every script of this recipe takes them."""
    parser.add_argument(
        "--fasta", type=named_path, nargs="+", default=list(GENOMES.items()), metavar="NAME=PATH"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_genome_options(parser)
    parser.add_argument("--config", type=Path, default=bundled_directory() / "ntv3-mini/config.json")
    parser.add_argument("--initial", help="checkpoint of the same config to start from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--window", type=int, default=Settings.window, help="bp, a multiple of 128")
    parser.add_argument("--batch", type=int, default=Settings.batch, help="windows per step")
    parser.add_argument("--rate", type=float, default=Settings.rate, help="share of bases asked for")
    parser.add_argument("--peak", type=float, default=Settings.peak, help="of AdamW")
    parser.add_argument("--muon-peak", type=float, default=Settings.muon_peak, help="of Muon")
    parser.add_argument("--clip", type=float, default=Settings.clip, help="largest gradient norm")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, help="default: on CUDA only")
    parser.add_argument("--threads", type=int, default=1, help="batch parts differentiated at once (CPU)")
    parser.add_argument("--every", type=int, default=200, help="steps between curve points and saved states")
    parser.add_argument("--resume", action="store_true", help="continue from the state in --out")
    return parser.parse_args()


def prepare(options: argparse.Namespace, config: dict[str, Any]) -> tuple[Training, list[Any]]:
    """The training at its start, and the held-out blocks."""
    training_pieces, blocks = split(read_genomes(dict(options.fasta)), SPLIT_SEED)
    for label, pieces in (("training", training_pieces), ("held out", blocks)):
        print(f"{label}: {sum(len(piece.ids) for piece in pieces):,} bp in {len(pieces)} pieces")
    shape = NTv3Config.from_json(config)
    if options.window % shape.multiple:
        raise SystemExit(f"--window {options.window} is no multiple of {shape.multiple}")
    bfloat16 = options.device.startswith("cuda") if options.bfloat16 is None else options.bfloat16
    settings = Settings(
        window=options.window,
        batch=options.batch,
        rate=options.rate,
        peak=options.peak,
        muon_peak=options.muon_peak,
        clip=options.clip,
        seed=options.seed,
        bfloat16=bfloat16,
    )
    torch.manual_seed(settings.seed)
    network = NTv3(shape)
    if options.initial:
        initial = cast(NTv3Adapter, load_adapter(options.initial, device="cpu")).network
        network.load_state_dict(initial.state_dict())
    network.to(options.device)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters on {options.device}")
    budget = Budget(options.steps, options.minutes)
    return Training(network, training_pieces, settings, budget, threads=options.threads), blocks


def main() -> None:
    """Train until the budget is spent, then write the release."""
    options = parse()
    config = read_mapping(options.config)
    training, blocks = prepare(options, config)
    options.out.mkdir(parents=True, exist_ok=True)
    state, table = options.out / "state.pt", options.out / "curve.csv"
    if options.resume:
        training.restore(state)
    losses: list[float] = []
    while not training.done:
        losses.append(training.advance())
        if training.progress.step % options.every == 0 or training.done:
            now = training.progress
            point = curve.Point(
                now.step,
                now.bases,
                now.seconds / 60,
                learning_rate(training.settings, training.spent),
                sum(losses) / len(losses),
                watch(training.network, blocks, training.settings),
            )
            losses.clear()
            curve.append(table, point)
            training.save(state)
            print(point, f"{now.bases / now.seconds / 1e3:.1f} kb/s", flush=True)
    release(training.network, config, options.out)
    curve.plot(curve.read(table), options.out / "curve.png")


if __name__ == "__main__":
    main()
