"""Assembly rows: the genes of an assembly, and which of the cached matrices is each one's.

Of a registered assembly a gene stands where it is registered, with matrices of the bases it has there (see
`GeneBases`); what else was computed under its id takes no part. Of an assembly known by the store's names
alone, a gene stands where the newest matrix under its id lay, with matrices of that place. Of several
matrices of one gene under one recipe (with and without flanks) the newest counts. What is left out is told.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from covpool.extractor.annotation.genes import Gene
from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.errors import GenomeUnavailableError
from covpool.store.catalog.entries import Entry
from covpool.store.catalog.names import Name, NamedEntry
from covpool.store.values.keys import Recipe

#: Genes that a notice names.
SHOWN = 5

#: Names with their entries by gene id, those of the newest entry first.
_Candidates = Mapping[str, list[NamedEntry]]


@dataclass(frozen=True)
class Rows:
    """What an assembly's table is made of.

    Attributes:
        genes: one a row, in the order of their contigs' names and their places.
        entries: of the matrices, by recipe and gene id; recipes without any are left out.
        notices: what was left out or passed over, one sentence each.
    """

    genes: tuple[Gene, ...]
    entries: dict[Recipe, dict[str, Entry]]
    notices: tuple[str, ...]


def rows_of(found: Iterable[NamedEntry], labels: Mapping[Recipe, str], bases: GeneBases | None) -> Rows:
    """The rows of an assembly's genes.

    Args:
        found: the assembly's names that are gene ids, with their entries.
        labels: what notices call the entries' recipes.
        bases: of the registered genes; None where none are.
    """
    listed = list(found)
    if bases is None:
        genes, listed, notices = _named(listed)
    else:
        genes, listed, notices = _registered(listed, bases)
    candidates: dict[Recipe, dict[str, dict[str, NamedEntry]]] = defaultdict(lambda: defaultdict(dict))
    # Of several names of one matrix the one of the gene's place now comes last, and counts.
    for one in sorted(listed, key=lambda one: _place(one.name) == _place_of(genes[one.name.name])):
        candidates[one.entry.namespace.recipe][one.name.name][one.entry.key] = one
    entries: dict[Recipe, dict[str, Entry]] = {}
    for recipe in sorted(candidates, key=labels.__getitem__):
        by_gene = {
            gene: sorted(of.values(), key=lambda one: _age(one.entry))
            for gene, of in candidates[recipe].items()
        }
        choice = _choice(by_gene, bases)
        if missing := len(genes) - len(by_gene):
            lacking = f"{missing:,} of {len(genes):,} genes have no moments; their rows are NaN"
            notices.append(f"{labels[recipe]}: {lacking}")
        notices += [f"{labels[recipe]}: {text}" for text in choice.notices()]
        if choice.entries:
            entries[recipe] = choice.entries
    ordered = sorted(genes.values(), key=lambda gene: (gene.chrom, gene.start, gene.end, gene.id))
    return Rows(tuple(ordered), entries, tuple(notices))


def _registered(
    found: list[NamedEntry], bases: GeneBases
) -> tuple[dict[str, Gene], list[NamedEntry], list[str]]:
    """Registered genes among those found, by id, what was found of them, and what is told of the others."""
    ids = {one.name.name for one in found}
    genes = {gene: bases.genes[gene].gene for gene in ids & bases.genes.keys()}
    dropped = ids - genes.keys()
    told = f"{len(dropped):,} genes have moments, but are not registered, and are left out: {_some(dropped)}"
    return genes, [one for one in found if one.name.name in genes], [told] if dropped else []


def _named(found: list[NamedEntry]) -> tuple[dict[str, Gene], list[NamedEntry], list[str]]:
    """Genes where the newest of their matrices lay, by id, what was found there, and what is told."""
    newest: dict[str, NamedEntry] = {}
    for one in sorted(found, key=lambda one: (_age(one.entry), _place(one.name)), reverse=True):
        newest[one.name.name] = one
    genes = {gene: _gene(one) for gene, one in newest.items()}
    here = [one for one in found if _place(one.name) == _place(newest[one.name.name].name)]
    moved = {one.name.name for one in found if _place(one.name) != _place(newest[one.name.name].name)}
    told = (
        f"{len(moved):,} genes have moments of several places, of which the newest counts: {_some(moved)}; "
        "covpool genome add tells which genes there are"
    )
    return genes, here, [told] if moved else []


def _gene(found: NamedEntry) -> Gene:
    name = found.name
    # A name without an interval is of no place: it comes first, on no contig.
    place = name.chrom or "", name.start or 0, name.end or found.entry.length
    return Gene(name.name, name.name, *place, name.strand or "+")


def _place(name: Name) -> tuple[str, int, int, str]:
    return name.chrom or "", name.start or 0, name.end or 0, name.strand or ""


def _place_of(gene: Gene) -> tuple[str, int, int, str]:
    return gene.chrom, gene.start, gene.end, gene.strand


def _age(entry: Entry) -> tuple[float, str]:
    """Sorts the newest first."""
    return -entry.created.timestamp() if entry.created else 0.0, entry.key


@dataclass
class _Choice:
    """Of one recipe: the entry of each gene; numbers and genes that are told."""

    entries: dict[str, Entry] = field(default_factory=dict)
    older: int = 0
    of_other_bases: int = 0
    flanks: set[int] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    why: str = ""

    def notices(self) -> Iterator[str]:
        """One sentence each."""
        if self.older:
            yield f"{self.older:,} older matrices of genes with several under one recipe were passed over"
        if len(self.flanks) > 1:
            listed = ", ".join(f"{flank:,}" for flank in sorted(self.flanks)[:SHOWN])
            yield f"genes were read with different flanks ({listed} … bases), of which the newest counts"
        if self.of_other_bases:
            yield f"{self.of_other_bases:,} matrices of other bases than the genes have now were passed over"
        if self.stale:
            yield (
                f"{len(self.stale):,} genes have moments of other bases only, as their place, strand or "
                f"sequence was another; their rows are NaN: {_some(self.stale)}"
            )
        if self.untold:
            yield (
                f"of {len(self.untold):,} genes it cannot be told whether their moments are of the bases "
                f"they have now ({self.why}); their rows are NaN: {_some(self.untold)}"
            )


def _choice(candidates: _Candidates, bases: GeneBases | None) -> _Choice:
    choice = _Choice()
    for gene, found in candidates.items():
        fitting = found
        if bases is not None:
            fitting, flanks, why = _own(found, bases)
            choice.why = why or choice.why
            if not fitting:
                (choice.untold if why else choice.stale).add(gene)
                continue
            choice.of_other_bases += len(found) - len(fitting)
            # Where all of the contig is read, a longer flank would read the same.
            if fitting[0].entry.length < bases.contig(gene):
                choice.flanks.add(flanks[0])
        choice.older += len(fitting) - 1
        choice.entries[gene] = fitting[0].entry
    return choice


def _own(found: list[NamedEntry], bases: GeneBases) -> tuple[list[NamedEntry], list[int], str]:
    """Those of the bases a gene has now, their flanks, and why it could not be told of others."""
    fitting, flanks, why = [], [], ""
    for one in found:
        try:
            flank = bases.flank(one.name.name, one)
        except GenomeUnavailableError as error:
            why = str(error)
            continue
        if flank is not None:
            fitting.append(one)
            flanks.append(flank)
    return fitting, flanks, why


def _some(genes: Collection[str]) -> str:
    return ", ".join(sorted(genes)[:SHOWN]) + (", …" if len(genes) > SHOWN else "")
