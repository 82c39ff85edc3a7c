"""Compare the layers of a checkpoint on E. coli gene functions, to choose its default layer.

Features of a gene are moments of a layer's activations over the gene alone, sense strand; the protocol is
that of `covpool evaluate go`, on its development folds.
"""

import argparse
import json
from pathlib import Path

from covpool.extractor.evaluation.inputs.gene_terms import term_targets
from covpool.extractor.evaluation.inputs.genes import read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.models.models import describe
from covpool.service.evaluation.comparison import Design, evaluate
from covpool.store import Store
from pretrain_ntv3_mini import DATA

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
POOLINGS = ("mean", "mean+second_moment", "mean+covariance")


def parse() -> argparse.Namespace:
    """The command line."""
    ecoli = DATA / "ecoli"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ntv3-mini", help="bundled name or checkpoint directory")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--fasta", type=Path, default=ecoli / "GCF_000005845.2_ASM584v2_genomic.fna.gz")
    parser.add_argument("--gff3", type=Path, default=ecoli / "GCF_000005845.2_ASM584v2_genomic.gff.gz")
    parser.add_argument("--terms", type=Path, default=ecoli / "genes.tsv.gz")
    parser.add_argument("--ontology", type=Path, default=DATA / "go/go-basic.2022-07-01.obo.gz")
    parser.add_argument("--every", type=int, default=1, help="use one gene in so many")
    parser.add_argument("--store", default="memory://", help="where moments are kept")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    return parser.parse_args()


def main() -> None:
    """Print the score of every layer and pooling, and of the baselines."""
    options = parse()
    genes = read_coding_genes(options.fasta, options.gff3)[:: options.every]
    genes, targets = term_targets(genes, read_ontology(options.ontology), options.terms)
    print(f"{len(genes)} genes, {len(targets.names)} terms", flush=True)
    design = Design(
        model=describe(options.model),
        layers=tuple(options.layers),
        poolings=POOLINGS,
        controls=False,
        untrained=False,
        part="development",
    )
    scores: dict[str, float] = {}
    with Store.open(options.store) as store:
        for one in evaluate(design, store, genes, targets, lambda text: None):
            if not one.added_to:
                scores[one.name] = one.score
                print(f"| {one.name} | {one.numbers} | {one.score:.4f} |", flush=True)
    options.out.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
