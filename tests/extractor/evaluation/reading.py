"""What tests read one file at a time: the terms that it has for each name, and the mean signal of genes."""

from collections import defaultdict
from pathlib import Path

from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.ontology import Ontology
from covpool.extractor.evaluation.inputs.signal import Vector
from covpool.extractor.evaluation.inputs.term_tables import read_term_table
from covpool.extractor.evaluation.inputs.tracks import signal_of


def read_gene_terms(path: Path, ontology: Ontology) -> dict[str, set[str]]:
    """Terms by every name that a file has for a gene, as the file gives them."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in read_term_table(path, ontology).rows:
        for name in (name for group in row.names for name in group):
            if row.terms:
                found[name].update(row.terms)
    return dict(found)


def mean_signal(genes: list[CodingGene], path: Path) -> Vector:
    """(genes,) mean signal of a file over each gene; NaN on contigs that it does not cover."""
    return signal_of(genes, path).means(genes)
