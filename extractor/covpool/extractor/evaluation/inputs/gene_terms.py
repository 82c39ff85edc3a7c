"""Which gene has which terms: GAF, GPAD and other tables, or the annotation's own Ontology_term attribute."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.gene_names import GeneNames
from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.ontology import Ontology
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.inputs.term_tables import TermTable, read_term_table

#: Terms of fewer genes are left out.
MIN_GENES = 30
#: Names and terms that a message lists.
_LISTED = 3


def term_targets(
    genes: list[CodingGene], ontology: Ontology, terms: Path | None, *, min_genes: int = MIN_GENES
) -> tuple[list[CodingGene], Targets]:
    """Genes with at least one term below the roots, and a 0/1 column for every frequent term.

    Terms pass to everything above them over is_a and part_of; roots are dropped. The notes of the targets say
    how the file was read, and what of it fits no gene or is no term of the ontology.

    Args:
        genes: in genome order.
        ontology: of the terms.
        terms: a GAF or GPAD file, or a table; see `read_term_table`. None reads the attribute Ontology_term
            of the genes.
        min_genes: fewest genes of a term, counted over the genes returned.

    Raises:
        EvaluationError: the file is damaged or its columns cannot be told, no gene has a term, or no term is
            frequent enough.
    """
    if terms is None:
        direct = [set(gene.terms) for gene in genes]
        found = _Found("the attribute Ontology_term", direct, ontology, sum(map(bool, direct)))
    else:
        found = _matched(terms, genes, ontology)
    known = [ontology.propagate(one) for one in found.direct]
    kept = [index for index, one in enumerate(known) if one]
    if not kept:
        raise EvaluationError(found.why_none(genes))
    counts: dict[str, int] = defaultdict(int)
    for index in kept:
        for term in known[index]:
            counts[term] += 1
    # A term that every gene has separates none of them.
    frequent = sorted(term for term, count in counts.items() if min_genes <= count < len(kept))
    if not frequent:
        most = max(counts.values())
        raise EvaluationError(
            f"{found.source}: no term has {min_genes} of {len(kept):,} genes and not all of them (the most "
            f"frequent has {most:,}), read as {found.read_as()}; ask for fewer with --min-genes, or give "
            "terms for more genes"
        )
    values = np.array([[term in known[index] for term in frequent] for index in kept], dtype=np.float32)
    titles = tuple(ontology.names[term] for term in frequent)
    targets = Targets("terms", tuple(frequent), titles, values, found.notes(len(kept)))
    return [genes[index] for index in kept], targets


def _matched(path: Path, genes: list[CodingGene], ontology: Ontology) -> "_Found":
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
    for (groups, _), found in owners.items():
        called[groups[0][0]] = called.get(groups[0][0], False) or bool(found)
    unmatched = tuple(name for name, is_gene in called.items() if not is_gene)
    return _Found(str(path), direct, ontology, len(called), unmatched, table)


@dataclass(frozen=True)
class _Found:
    """Terms as found, and what to say of them.

    Attributes:
        source: where they were found.
        direct: terms of each gene, as the source has them.
        ontology: of the terms.
        names: how many different names the source has.
        unmatched: those that are of no gene.
        table: the source, where it is a file.
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
        """How the source was read, and what of it came to nothing."""
        notes = [f"{self.read_as()}; genes with terms: {labelled:,} of {len(self.direct):,}"]
        if self.unmatched:
            notes.append(
                f"names of no gene with a coding sequence: {len(self.unmatched):,} of {self.names:,} "
                f"({_some(self.unmatched)})"
            )
        used = self.used
        if unknown := [term for term in used if not self.ontology.knows(term)]:
            notes.append(
                f"terms obsolete or unknown to the ontology, which count nothing: {len(unknown):,} of "
                f"{len(used):,} ({_some(unknown)})"
            )
        if self.table and self.table.texts:
            notes.append(
                f"cells of terms with other text, which count nothing: {len(self.table.texts):,} "
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
                "table that calls genes as the annotation does"
            )
        if not used:
            return (
                f"{start}: {self.read_as()}, of which {matched:,} fit genes of the annotation and have no "
                "term; give a table with terms of these genes"
            )
        known = [term for term in used if self.ontology.knows(term)]
        return (
            f"{start} below the roots: {self.read_as()}, of which {matched:,} fit genes of the annotation, "
            f"and of their {len(used):,} terms ({_some(used)}) the ontology knows {len(known):,}; give the "
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
