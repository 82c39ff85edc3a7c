"""Terms of a table by every name that it has for a gene."""

from collections import defaultdict
from pathlib import Path

from covpool.extractor.evaluation.inputs.ontology import Ontology
from covpool.extractor.evaluation.inputs.term_tables import read_term_table


def read_gene_terms(path: Path, ontology: Ontology) -> dict[str, set[str]]:
    """As the file gives them; names without a term are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in read_term_table(path, ontology).rows:
        for name in (name for group in row.names for name in group):
            if row.terms:
                found[name].update(row.terms)
    return dict(found)
