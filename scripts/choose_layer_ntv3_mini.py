"""Compare the layers of a checkpoint on E. coli gene functions, to choose its default layer.

Features of a gene are mean and second moment of a layer's activations over the gene alone, sense strand, and
its log length; the floor is 4-mer frequencies and log length.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from covpool.extractor.adapters.registry import load_adapter
from covpool.extractor.extraction import extract
from pretrain_ntv3_mini import DATA
from pretraining.gene_functions import Genes, Matrix, kmer_features, mean_auroc, read_genes

LAYERS = [
    "stem",
    "down.2",
    "down.4",
    "down.6",
    "transformer.0",
    "transformer.1",
    "transformer.2",
    "up.0",
    "up.2",
    "up.4",
    "up.5",
    "up.6",
]


def moment_features(genes: Genes, model: str, layers: list[str]) -> dict[str, tuple[Matrix, Matrix]]:
    """(mean, upper triangle of the second moment) of every gene by layer."""
    adapter = load_adapter(model)
    means: dict[str, list[Matrix]] = {layer: [] for layer in layers}
    seconds: dict[str, list[Matrix]] = {layer: [] for layer in layers}
    for bases in genes.bases:
        for layer, found in extract(adapter, bases, layers).items():
            means[layer].append(found.mean.astype(np.float32))
            triangle = np.triu_indices(len(found.mean))
            seconds[layer].append(found.second_moment[triangle].astype(np.float32))
    return {layer: (np.stack(means[layer]), np.stack(seconds[layer])) for layer in layers}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ntv3-mini", help="bundled name or checkpoint directory")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--fasta", type=Path, default=DATA / "ecoli/GCF_000005845.2_ASM584v2_genomic.fna.gz")
    parser.add_argument("--genes", type=Path, default=DATA / "ecoli/genes.tsv.gz")
    parser.add_argument("--ontology", type=Path, default=DATA / "go/go-basic.2022-07-01.obo.gz")
    parser.add_argument("--every", type=int, default=1, help="use one gene in so many")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    return parser.parse_args()


def main() -> None:
    """Print mean AUROC of the floor and of every layer, from means, and with second moments."""
    options = parse()
    genes = read_genes(options.fasta, options.genes, options.ontology)
    genes = Genes(genes.bases[:: options.every], genes.labels[:: options.every])
    length = np.log([[len(bases)] for bases in genes.bases]).astype(np.float32)
    floor = mean_auroc(np.hstack((kmer_features(genes.bases), length)), genes.labels)
    print(f"{len(genes.bases)} genes, {genes.labels.shape[1]} terms\n4-mers: {floor:.4f}", flush=True)
    report: dict[str, object] = {"genes": len(genes.bases), "terms": genes.labels.shape[1], "4-mers": floor}
    for layer, (mean, second) in moment_features(genes, options.model, options.layers).items():
        alone = mean_auroc(np.hstack((mean, length)), genes.labels)
        both = mean_auroc(np.hstack((mean, second, length)), genes.labels)
        report[layer] = {"width": mean.shape[1], "mean": alone, "mean and second moment": both}
        print(f"| `{layer}` | {mean.shape[1]} | {alone:.4f} | {both:.4f} |", flush=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
