"""Which gene has which terms: GAF files, tables, or the annotation's own Ontology_term attribute."""

import csv
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from xopen import xopen

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.genes import CodingGene
from covpool.extractor.evaluation.ontology import Ontology
from covpool.extractor.evaluation.targets import Targets

#: Terms of fewer genes are left out.
MIN_GENES = 30

#: Columns of GAF 2.2, 0-based: id, symbol, qualifier, term, synonyms.
_GAF_ID, _GAF_SYMBOL, _GAF_QUALIFIER, _GAF_TERM, _GAF_SYNONYMS = 1, 2, 3, 4, 10
_SEPARATORS = re.compile(r"[,;|\s]+")


def term_targets(
    genes: list[CodingGene], ontology: Ontology, terms: Path | None, *, min_genes: int = MIN_GENES
) -> tuple[list[CodingGene], Targets]:
    """Genes with at least one term below the roots, and a 0/1 column for every frequent term.

    Terms pass to everything above them over is_a and part_of; roots are dropped.

    Args:
        genes: in genome order.
        ontology: of the terms.
        terms: a GAF file (its first line starts with "!gaf-version"), or a table with a header or without:
            genes in the first column, terms in the first other column that holds any, separated by commas,
            semicolons, bars or spaces. None reads the attribute Ontology_term of the genes.
        min_genes: fewest genes of a term, counted over the genes returned.

    Raises:
        EvaluationError: the file is damaged, no gene has a term, or no term is frequent enough.
    """
    if terms is None:
        direct = [set(gene.attributes.get("Ontology_term", ())) for gene in genes]
        source = "the attribute Ontology_term"
    else:
        table = read_gene_terms(terms, ontology)
        direct = [{term for name in gene.names for term in table.get(name, ())} for gene in genes]
        source = str(terms)
    known = [ontology.propagate(found) for found in direct]
    kept = [index for index, found in enumerate(known) if found]
    if not kept:
        raise EvaluationError(
            f"{source}: none of {len(genes)} genes has a term below the roots; check that gene names and "
            "ontology fit (genes are found by ID, locus_tag, Name, gene and Alias)"
        )
    counts: dict[str, int] = defaultdict(int)
    for index in kept:
        for term in known[index]:
            counts[term] += 1
    # A term that every gene has separates none of them.
    frequent = sorted(term for term, count in counts.items() if min_genes <= count < len(kept))
    if not frequent:
        raise EvaluationError(
            f"{source}: no term has {min_genes} of {len(kept)} genes; ask for fewer with --min-genes"
        )
    values = np.array([[term in known[index] for term in frequent] for index in kept], dtype=np.float32)
    titles = tuple(ontology.names[term] for term in frequent)
    return [genes[index] for index in kept], Targets("terms", tuple(frequent), titles, values)


def read_gene_terms(path: Path, ontology: Ontology) -> dict[str, set[str]]:
    """Terms by gene name of a GAF file or a table; see `term_targets`.

    Annotations that GAF qualifies with NOT are left out.

    Raises:
        EvaluationError: the file cannot be read, a GAF line is too short, or a table has no column of terms.
    """
    try:
        with xopen(path, "rt", encoding="utf-8", newline="", threads=0) as file:
            lines = file.read().splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise EvaluationError(f"{path}: cannot be read ({error})") from error
    is_gaf = bool(lines) and lines[0].startswith("!gaf-version")
    pairs = _gaf(lines, path) if is_gaf else _table(lines, path, ontology)
    found: dict[str, set[str]] = defaultdict(set)
    for names, terms in pairs:
        for name in names:
            found[name].update(terms)
    return found


def _gaf(lines: list[str], path: Path) -> Iterator[tuple[Iterable[str], Iterable[str]]]:
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("!"):
            continue
        columns = line.split("\t")
        if len(columns) < 15:
            raise EvaluationError(f"{path}, line {number}: {len(columns)} columns; GAF has 17 (15 filled)")
        if "NOT" not in columns[_GAF_QUALIFIER].split("|"):
            names = {columns[_GAF_ID], columns[_GAF_SYMBOL], *columns[_GAF_SYNONYMS].split("|")} - {""}
            yield names, [columns[_GAF_TERM]]


def _table(lines: list[str], path: Path, ontology: Ontology) -> Iterator[tuple[Iterable[str], Iterable[str]]]:
    rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    of_terms = [
        index
        for row in rows
        for index, cell in enumerate(row)
        if index and any(map(ontology.knows, _SEPARATORS.split(cell)))
    ]
    if not of_terms:
        raise EvaluationError(
            f"{path}: no column after the first holds terms of the ontology; give genes in the first column "
            "and term ids in another"
        )
    column = min(of_terms)
    for row in rows:
        if len(row) > column:
            yield [row[0].strip()], [term for term in _SEPARATORS.split(row[column]) if term]
