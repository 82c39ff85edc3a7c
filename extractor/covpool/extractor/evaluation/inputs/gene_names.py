"""Names of genes: the genes that a table means, by the names of genes and of their products.

A name stands for the genes with this ID. If there are none, it stands for the genes with this symbol, then
with this other name, with this transcript or protein name, and last with this reference to another database.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered

from covpool.extractor.evaluation.inputs.genes import CodingGene
from covpool.extractor.evaluation.inputs.term_tables import Annotated

#: Accessions with a version: ENSP00000334393.4, NP_414542.1, AAC73112.1.
_VERSIONED = re.compile(r"(ENS[A-Z]*\d{11}|[NXYWA][MPRT]_\d+|[A-Z]{3}\d{5,7})\.\d+")
#: Spellings of database names, and the spelling used here.
_DATABASES = {
    "uniprotkb/swiss-prot": "uniprotkb",
    "uniprotkb/trembl": "uniprotkb",
    "uniprot": "uniprotkb",
    "ncbigene": "geneid",
    "ncbi_gene": "geneid",
    "entrezgene": "geneid",
    "genbank": "refseq",
    "ncbi_np": "refseq",
}
Index = dict[str, list[int]]


class GeneNames:
    """Finds genes by the names in tables; the genes may have any order."""

    def __init__(self, genes: Ordered[CodingGene]) -> None:
        self._plain = [
            _index(genes, lambda gene: (gene.names[0], gene.name)),
            _index(genes, lambda gene: (gene.symbol,)),
            _index(genes, lambda gene: gene.names),
            _index(genes, lambda gene: gene.products),
        ]
        self._accession = _index(genes, lambda gene: map(_accession, _all(gene)))
        self._bare = _index(genes, lambda gene: filter(None, map(_bare, _all(gene))))
        self._unversioned = _index(genes, lambda gene: map(_unversioned, _all(gene)))

    def __contains__(self, name: str) -> bool:
        """Whether a gene or one of its products has the name."""
        return any(name in index for index in self._plain)

    def find(self, row: Annotated) -> list[int]:
        """Indices of the genes that a row means; [] for none."""
        for place, names in enumerate(row.names):
            for index in self._plain:
                if genes := _of(index, names):
                    return genes
            if place == 0:
                if row.accession and (genes := _of(self._accession, [_accession(row.accession)])):
                    return genes
                for index, spell in ((self._bare, str), (self._unversioned, _unversioned)):
                    if genes := _of(index, map(spell, names)):
                        return genes
        return []


def _index(genes: Ordered[CodingGene], names: Callable[[CodingGene], Iterable[str]]) -> Index:
    index: Index = defaultdict(list)
    for number, gene in enumerate(genes):
        for name in dict.fromkeys(names(gene)):
            if name:
                index[name].append(number)
    return dict(index)


def _of(index: Index, names: Iterable[str]) -> list[int]:
    return sorted({number for name in names for number in index.get(name, ())})


def _all(gene: CodingGene) -> tuple[str, ...]:
    return (*gene.names, *gene.products)


def _accession(name: str) -> str:
    database, colon, number = name.partition(":")
    database = database.casefold()
    return f"{_DATABASES.get(database, database)}:{number}" if colon else ""


def _bare(name: str) -> str:
    """The ID in a database reference; "" for digits alone, which are IDs in many databases."""
    number = name.partition(":")[2]
    return "" if number.isdigit() else number


def _unversioned(name: str) -> str:
    plain = name.rpartition(":")[2]
    match = _VERSIONED.fullmatch(plain)
    return match[1] if match else "" if plain.isdigit() else plain
