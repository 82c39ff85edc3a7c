"""Fit the bundled default bottleneck of `ntv3-mini` on the sample genes and write it beside the weights."""

from pathlib import Path

from covpool.extractor import describe, read_fasta
from covpool.extractor.pooling.mean_eigenvectors import fit_mean_eigenvectors
from covpool.extractor.pooling.source import MomentsList
from covpool.service.tasks import Extraction
from covpool.store import Store

MODEL = "ntv3-mini"
K = 16
GENES = Path(__file__).parent.parent / "examples" / "ecoli_genes.fa"


def main() -> None:
    """Extract the sample genes into a passing store, fit, write."""
    model = describe(MODEL)
    recipe = model.recipe()
    with Store.open("memory://") as store:
        sequences = list(read_fasta(GENES))
        keys = list(Extraction(store).run(model, recipe, sequences))
        source = MomentsList([store.get(key) for key in keys], recipe)
        bottleneck = fit_mean_eigenvectors(source, k=K, name=f"{MODEL}.{recipe.layer}.k{K}")
    path = model.checkpoint.directory / f"bottleneck-{K}.safetensors"
    bottleneck.save(path)
    print(f"{bottleneck.name}: {dict(bottleneck.fit)}")


if __name__ == "__main__":
    main()
