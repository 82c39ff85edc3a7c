"""Terms of genes: from GAF, GPAD and other tables, or from the Ontology_term attribute of the annotation."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.gene_names import GeneNames
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.ontology import Ontology
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.inputs.term_tables import TermTable, read_term_table

#: Terms with fewer genes are left out.
MIN_GENES = 30
#: Number of names or terms that a message lists.
_LISTED = 3


def term_targets(
    genes: list[CodingGene],
    ontology: Ontology,
    terms: str | PathLike[str] | None,
    *,
    min_genes: int = MIN_GENES,
) -> tuple[list[CodingGene], Targets]:
    """Genes with at least one term below the roots, and a 0/1 column for every frequent term.

    A gene also has all terms above its terms over is_a and part_of; roots are dropped. The notes of the
    targets state how the file was read, and which names fit no gene and which terms are not in the ontology.

    Args:
        genes: in genome order.
        ontology: the ontology of the terms.
        terms: a GAF or GPAD file, or a table; see `read_term_table`. None reads the attribute Ontology_term
            of the genes.
        min_genes: minimum number of genes of a term, among the returned genes.

    Raises:
        EvaluationError: the file is damaged or its columns are not recognised, no gene has a term, or no term
            is frequent enough.
    """
    if terms is None:
        direct = [set(gene.terms) for gene in genes]
        source = _DirectTerms("the attribute Ontology_term", direct, ontology, sum(map(bool, direct)))
    else:
        source = _matched(Path(terms), genes, ontology)
    propagated = [ontology.propagate(terms_of_gene) for terms_of_gene in source.direct]
    kept = [index for index, terms_of_gene in enumerate(propagated) if terms_of_gene]
    if not kept:
        raise EvaluationError(source.why_none(genes))
    counts: dict[str, int] = defaultdict(int)
    for index in kept:
        for term in propagated[index]:
            counts[term] += 1
    # A term that every gene has cannot separate genes.
    frequent = sorted(term for term, count in counts.items() if min_genes <= count < len(kept))
    if not frequent:
        most = max(counts.values())
        raise EvaluationError(
            f"{source.source}: no term has {min_genes} of {len(kept):,} genes and not all of them (the most "
            f"frequent has {most:,}), read as {source.read_as()}; ask for fewer with --min-genes, or give "
            "terms for more genes"
        )
    values = np.array([[term in propagated[index] for term in frequent] for index in kept], dtype=np.float32)
    titles = tuple(ontology.names[term] for term in frequent)
    targets = Targets("terms", tuple(frequent), titles, values, source.notes(len(kept)))
    return [genes[index] for index in kept], targets


def read_gene_terms(path: str | PathLike[str], ontology: Ontology) -> dict[str, set[str]]:
    """Terms by every name that a file has for a gene, as the file gives them; see `read_term_table`.

    Annotations that are qualified with NOT are left out, and names without a term.

    Raises:
        EvaluationError: the file is damaged, or its columns cannot be identified.
    """
    terms: dict[str, set[str]] = defaultdict(set)
    for row in read_term_table(path, ontology).rows:
        for name in (name for group in row.names for name in group):
            if row.terms:
                terms[name].update(row.terms)
    return dict(terms)


def _matched(path: Path, genes: list[CodingGene], ontology: Ontology) -> "_DirectTerms":
    names = GeneNames(genes)
    table = read_term_table(path, ontology, names.__contains__)
    direct: list[set[str]] = [set() for _ in genes]
    owners: dict[tuple[tuple[tuple[str, ...], ...], str], list[int]] = {}
    for row in table.rows:
        key = row.names, row.accession
        if row.names and key not in owners:
            owners[key] = names.find(row)
        for index in owners.get(key, ()):
            direct[index].update(row.terms)
    called: dict[str, bool] = {}
    for (groups, _), indices in owners.items():
        called[groups[0][0]] = called.get(groups[0][0], False) or bool(indices)
    unmatched = tuple(name for name, is_gene in called.items() if not is_gene)
    return _DirectTerms(str(path), direct, ontology, len(called), unmatched, table)


@dataclass(frozen=True)
class _DirectTerms:
    """Terms of genes as the source states them, and notes on them.

    Attributes:
        source: the file, or the attribute.
        direct: terms of each gene as in the source, without the terms above them.
        ontology: the ontology of the terms.
        names: number of different names in the source.
        unmatched: names that fit no gene.
        table: the table, if the source is a file.
    """

    source: str
    direct: list[set[str]]
    ontology: Ontology
    names: int
    unmatched: tuple[str, ...] = ()
    table: TermTable | None = None

    @property
    def used(self) -> list[str]:
        """Terms of any gene."""
        return sorted(set().union(*self.direct))

    def notes(self, labelled: int) -> tuple[str, ...]:
        """How the source was read, and which of its names, terms and cells were not used."""
        notes = [f"{self.read_as()}; genes with terms: {labelled:,} of {len(self.direct):,}"]
        if self.unmatched:
            notes.append(
                f"names that fit no gene with a coding sequence: {len(self.unmatched):,} of {self.names:,} "
                f"({_some(self.unmatched)})"
            )
        used = self.used
        if unknown := [term for term in used if not self.ontology.knows(term)]:
            notes.append(
                f"terms obsolete or unknown to the ontology, which are ignored: {len(unknown):,} of "
                f"{len(used):,} ({_some(unknown)})"
            )
        if self.table and self.table.texts:
            notes.append(
                f"cells of terms with other text, which are ignored: {len(self.table.texts):,} "
                f"({self.table.texts[0]})"
            )
        return tuple(f"{self.source}: {note}" for note in notes)

    def why_none(self, genes: list[CodingGene]) -> str:
        """Why no gene has a term, and what to do."""
        start = f"{self.source}: none of {len(genes):,} genes has a term"
        used = self.used
        matched = self.names - len(self.unmatched)
        if self.table is None and not used:
            return f"{start}, as no gene has this attribute; give a table of genes and terms with --terms"
        if self.table and not any(row.terms for row in self.table.rows):
            return f"{start}: {self.read_as()}, and no row has one; give a table with terms"
        if self.table and not matched:
            called = (gene.names[0] for gene in genes)
            return (
                f"{start}: {self.read_as()}, and no name ({_some(self.unmatched)}) is an id, locus_tag, "
                f"name, alias, transcript or protein of a gene of the annotation ({_some(called)}); give a "
                "table that has gene names of the annotation"
            )
        if not used:
            return (
                f"{start}: {self.read_as()}, of which {matched:,} fit genes of the annotation and have no "
                "term; give a table with terms of these genes"
            )
        live = [term for term in used if self.ontology.knows(term)]
        return (
            f"{start} below the roots: {self.read_as()}, of which {matched:,} fit genes of the annotation, "
            f"and of their {len(used):,} terms ({_some(used)}) the ontology knows {len(live):,}; give the "
            "ontology that the terms are of"
        )

    def read_as(self) -> str:
        """How the source was read."""
        if self.table is None:
            return f"attributes of {self.names:,} genes"
        negated = f", {self.table.negated:,} left out for NOT" if self.table.negated else ""
        return (
            f"{self.table.format} of {len(self.table.rows):,} rows{negated} and {self.names:,} names, "
            f"{self.table.columns}"
        )


def _some(names: Iterable[str]) -> str:
    listed = list(islice(names, _LISTED + 1))
    return ", ".join(listed[:_LISTED]) + (", …" if len(listed) > _LISTED else "")
