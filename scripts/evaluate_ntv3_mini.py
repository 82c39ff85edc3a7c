"""Score a checkpoint on the held-out blocks: masked bases against composition and the best Markov chains.

Prints a Markdown table and writes the numbers to --out as JSON. Every predictor sees the same masks: 15 % of
the bases of each 8,192 bp window of a held-out block hidden, drawn --draws times.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from covpool.extractor.adapters.ntv3 import NTv3Adapter
from covpool.extractor.adapters.registry import load_adapter
from covpool.extractor.networks.ntv3.network import NTv3
from pretrain_ntv3_mini import DATA, SPLIT_SEED, add_genome_options, named_path
from pretraining.baselines import choose_chains, fit_chosen, fit_composition
from pretraining.coding import coding_bases, read_cds
from pretraining.genomes import Piece, pad, read_genomes, split, tile
from pretraining.markov import MarkovChain, codes
from pretraining.masking import choose, hide
from pretraining.training import NATS_PER_BIT, Settings, base_log_probabilities

ANNOTATIONS = {
    "ecoli": DATA / "ecoli/GCF_000005845.2_ASM584v2_genomic.gff.gz",
    "yeast": DATA / "yeast/sgd_R64.gff3.gz",
    "dmelanogaster": DATA / "introns/dmelanogaster.1pct.gff3.gz",
    "celegans": DATA / "introns/celegans.1pct.gff3.gz",
    "athaliana": DATA / "introns/athaliana.1pct.gff3.gz",
}
SEED = 11

Floats = npt.NDArray[np.float32]
#: Natural log P(A, T, C, G) at the hidden places of one window, from what is left to see of it.
Predictor = Callable[[Piece, npt.NDArray[np.uint8], npt.NDArray[np.bool_]], Floats]


@dataclass(frozen=True)
class Scores:
    """Bits and hits of one predictor at the hidden bases of one window; `coding` marks those in a CDS."""

    genome: str
    block: int
    coding: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]


def network_predictor(network: NTv3, window: int) -> Predictor:
    """The network, fed windows filled up with N."""

    def predict(piece: Piece, seen: npt.NDArray[np.uint8], chosen: npt.NDArray[np.bool_]) -> Floats:
        flags = np.pad(chosen, (0, window - len(chosen)))
        return base_log_probabilities(network, pad(seen, window)[None], flags[None])

    return predict


def chain_predictor(chains: dict[str, MarkovChain]) -> Predictor:
    """Each genome's chain."""

    def predict(piece: Piece, seen: npt.NDArray[np.uint8], chosen: npt.NDArray[np.bool_]) -> Floats:
        return chains[piece.genome].log_probabilities(codes(seen), np.flatnonzero(chosen))

    return predict


def score(
    predict: Predictor, blocks: list[Piece], cds: dict[str, Any], window: int, rate: float, draws: int
) -> Iterator[Scores]:
    """Every window of every block, `draws` times; masks depend on block, window and draw only."""
    for number, block in enumerate(blocks):
        for index, piece in enumerate(tile([block], window)):
            coding = coding_bases(piece, cds[piece.genome])
            for draw in range(draws):
                chosen = choose(piece.ids, rate, np.random.default_rng((SEED, number, index, draw)))
                found = predict(piece, hide(piece.ids, chosen), chosen)
                truth = codes(piece.ids)[chosen]
                yield Scores(
                    piece.genome,
                    number,
                    coding[chosen],
                    found[np.arange(len(truth)), truth].astype(np.float64) / -NATS_PER_BIT,
                    found.argmax(1) == truth,
                )


def summarise(predictors: dict[str, list[Scores]], genome: str, part: str) -> dict[str, Any]:
    """Bits and accuracy of each predictor over one genome ("all" for all) and part of it.

    `gain` is best baseline minus network, with its standard error over held-out blocks.
    """
    row: dict[str, Any] = {"genome": genome, "part": part}
    sums: dict[str, dict[int, npt.NDArray[np.float64]]] = {}
    for name, scores in predictors.items():
        sums[name] = {}
        for s in scores:
            if genome in ("all", s.genome):
                at = np.ones_like(s.coding) if part == "all" else s.coding == (part == "coding")
                found = np.array([at.sum(), s.bits[at].sum(), s.hits[at].sum()], dtype=np.float64)
                sums[name][s.block] = sums[name].get(s.block, 0) + found
        count, bits, hits = np.sum(list(sums[name].values()), axis=0)
        row["bases"] = int(count)
        row[name] = {"bits": bits / count, "accuracy": hits / count}
    best = min((name for name in predictors if name != "network"), key=lambda name: row[name]["bits"])
    pairs = [(sums[best][b], sums["network"][b]) for b in sums["network"]]
    gains = np.array([base[1] - ours[1] for base, ours in pairs])
    sizes = np.array([base[0] for base, _ in pairs])
    mean = gains.sum() / sizes.sum()
    # Ratio estimator over blocks.
    spread = np.sqrt(((gains - mean * sizes) ** 2).sum() * len(pairs) / max(1, len(pairs) - 1)) / sizes.sum()
    return row | {"best_baseline": best, "gain_bits": mean, "gain_error": spread}


def table(rows: list[dict[str, Any]], names: list[str]) -> str:
    """Markdown: bits per masked base and accuracy (%), one row per genome and part."""
    lines = [
        "| genome | part | masked bases | "
        + " | ".join(f"{n}: bits (acc. %)" for n in names)
        + " | gain, bits |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for row in rows:
        cells = [f"{row[n]['bits']:.4f} ({100 * row[n]['accuracy']:.1f})" for n in names]
        gain = f"{row['gain_bits']:+.4f} ± {row['gain_error']:.4f}"
        lines.append(f"| {row['genome']} | {row['part']} | {row['bases']:,} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_genome_options(parser)
    parser.add_argument(
        "--gff", type=named_path, nargs="+", default=list(ANNOTATIONS.items()), metavar="NAME=PATH"
    )
    parser.add_argument("--model", default="ntv3-mini", help="bundled name or checkpoint directory")
    parser.add_argument("--draws", type=int, default=4, help="mask draws per window")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    return parser.parse_args()


def main() -> None:
    """Choose the baselines on training data, score all predictors on the held-out blocks, report."""
    options = parse()
    settings = Settings()
    window, rate = settings.window, settings.rate
    training, blocks = split(read_genomes(dict(options.fasta)), SPLIT_SEED)
    paths = dict(options.gff)
    cds = {piece.genome: read_cds(paths[piece.genome]) if piece.genome in paths else {} for piece in training}
    choices = choose_chains(training, window, rate, SEED)
    for genome, choice in choices.items():
        print(f"{genome}: {choice}", flush=True)
    network = cast(NTv3Adapter, load_adapter(options.model)).network
    predictors = {
        "composition": chain_predictor(fit_composition(training)),
        "markov": chain_predictor(fit_chosen(training, choices)),
        "network": network_predictor(network, window),
    }
    scores = {
        name: list(score(predict, blocks, cds, window, rate, options.draws))
        for name, predict in predictors.items()
    }
    rows = [
        summarise(scores, genome, part)
        for genome in ("all", *choices)
        for part in (("all", "coding", "non-coding") if cds.get(genome) or genome == "all" else ("all",))
    ]
    report = {"chains": {name: asdict(choice) for name, choice in choices.items()}, "rows": rows}
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(rows, list(predictors)))


if __name__ == "__main__":
    main()
