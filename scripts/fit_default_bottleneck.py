"""Fit the poolings that ship with `ntv3-mini` on all E. coli genes; write them and a card beside the weights.

    python scripts/fit_default_bottleneck.py [--ecoli DIRECTORY]

The directory holds `genes.tsv.gz` and the RefSeq genome. Run it again whenever the weights change: it needs
two minutes of CPU time. Without such a directory it takes the thirty sample genes, and the card says so.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from xopen import xopen

from covpool.extractor import Sequence, describe, normalise, read_fasta, reverse_complement
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.fitting.fits import METHODS
from covpool.service.extraction.caching import cache
from covpool.service.extraction.engine import Engine
from covpool.service.fitting.training_set import StoredMoments
from covpool.store import Store
from covpool.store.poolings.fitted import FittedPooling

ROOT = Path(__file__).parent.parent
MODEL = "ntv3-mini"
EXAMPLES = ROOT / "examples" / "ecoli_genes.fa"
GENOME = "GCF_000005845.2_ASM584v2_genomic.fna.gz"

ALL_GENES = "all genes and pseudogenes of E. coli K-12 (NC_000913.3), sense strand"

#: File stem, method, k and what it is for; the first is the model's default.
SHIPPED = (
    ("bottleneck-16", "eigenvectors", 16, "the default: M, 16 x 16; leading rows and columns matter most"),
    ("scores-136", "root-pca", 136, "spectral-root PCA: 136 scores, for probes and nearest neighbours"),
)


def main() -> None:
    """Extract into a passing store, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--ecoli", type=Path, default=ROOT.parent / "shared" / "data" / "ecoli")
    directory: Path = parser.parse_args().ecoli
    genes, origin = _training_genes(directory)
    model = describe(MODEL)
    recipe = model.recipe()
    with Store.open("memory://") as store:
        workloads = [Workload.of(gene, [recipe]) for gene in genes]
        for _, fault in cache(Engine(store), model, workloads):
            if fault is not None:
                raise fault
        keys = sorted(store.keys(), key=str)
        source = StoredMoments(lambda: store, keys)
        print(f"{len(keys)} distinct genes: {origin}", flush=True)
        fitted = []
        for stem, method, k, purpose in SHIPPED:
            name = f"{MODEL}.{recipe.layer}.{'k' if stem.startswith('bottleneck') else 's'}{k}"
            pooling = METHODS[method].fit(source, k=k, name=name, scaling="rms")
            pooling.save(model.checkpoint.directory / f"{stem}.safetensors")
            fitted.append((pooling, stem, purpose))
            print(f"{name}: {pooling.fit['method']}", flush=True)
    card = model.checkpoint.directory / "BOTTLENECKS.md"
    card.write_text("\n".join(_card(fitted, origin, len(keys))) + "\n", encoding="utf-8")


def _training_genes(directory: Path) -> tuple[list[Sequence], str]:
    """Sequences and, in words, where they come from."""
    if (directory / GENOME).is_file():
        return list(
            _ecoli_genes(directory)
        ), "all genes and pseudogenes of E. coli K-12 (NC_000913.3), sense strand"
    return list(read_fasta(EXAMPLES)), f"the sample genes of examples/{EXAMPLES.name}"


def _ecoli_genes(directory: Path) -> Iterator[Sequence]:
    contigs = {record.name: record.bases for record in read_fasta(directory / GENOME)}
    with xopen(directory / "genes.tsv.gz", "rt", encoding="utf-8", threads=0) as file:
        for row in csv.DictReader(file, delimiter="\t"):
            bases = contigs[row["contig"]][int(row["start"]) - 1 : int(row["end"])]
            yield normalise(reverse_complement(bases) if row["strand"] == "-" else bases, row["gene_id"])


def _card(fitted: list[tuple[FittedPooling, str, str]], origin: str, genes: int) -> Iterator[str]:
    yield f"# Poolings that ship with {MODEL}\n"
    yield f"Fitted by `scripts/fit_default_bottleneck.py` on {genes:,} distinct sequences:\n{origin}."
    yield "No labels were used. Who evaluates on these genes fits on training genes instead: these saw all.\n"
    yield "Features are divided by their root mean square over the training tokens first. Figures say how a"
    yield "fit went and nothing about quality.\n"
    yield "| file | name | what for | method | figures |"
    yield "|---|---|---|---|---|"
    for pooling, stem, purpose in fitted:
        figures = ", ".join(
            f"{label.replace('_', ' ')} {value:.4g}"
            for label, value in pooling.fit.items()
            if isinstance(value, int | float)
        )
        yield f"| `{stem}.safetensors` | `{pooling.name}` | {purpose} | {pooling.fit['method']} | {figures} |"


if __name__ == "__main__":
    main()
