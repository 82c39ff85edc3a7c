"""Moments of real E. coli genes under the bundled model, computed once for all tests that fit on them."""

from functools import cache
from pathlib import Path

from covpool.extractor import extract_many, load_adapter, read_fasta
from covpool.extractor.fitting.source import MomentsList

GENES = Path(__file__).parent.parent.parent / "examples" / "ecoli_genes.fa"


@cache
def real_moments() -> MomentsList:
    """Thirty genes at the default layer, as they lie in a store (float32), in file order."""
    adapter = load_adapter("ntv3-mini")
    layer = adapter.model.default_layer
    found = extract_many(adapter, list(read_fasta(GENES)), [layer])
    by_index = {index: moments[layer].astype("float32") for index, moments in found}
    return MomentsList([by_index[index] for index in sorted(by_index)], adapter.recipe(layer))
