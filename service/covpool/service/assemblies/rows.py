"""Assembly rows: the genes of an assembly, and the cached matrix of each.

In a registered assembly a gene has its registered place, and matrices of its current bases (see `GeneBases`);
other results with its id are ignored. In an assembly that only the names in the store know, a gene has the
place of the newest matrix with its id, and matrices of that place. Of several matrices of a gene with one
recipe (with and without flanks) the newest is used. Notices report what is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from covpool.extractor.annotation.genes import Gene
from covpool.service.assemblies.contig_names import LISTED, some
from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.errors import GenomeUnavailableError
from covpool.store.catalog.entries import Entry
from covpool.store.catalog.names import Name, NamedEntry
from covpool.store.values.keys import Recipe

#: Names with their entries by gene id, those of the newest entry first.
_Candidates = Mapping[str, list[NamedEntry]]


@dataclass(frozen=True)
class Rows:
    """The content of an assembly's table.

    Attributes:
        genes: one per row, sorted by contig name and place.
        entries: of the matrices, by recipe and gene id; recipes without entries are left out.
        notices: what was left out or ignored, one sentence each.
    """

    genes: tuple[Gene, ...]
    entries: dict[Recipe, dict[str, Entry]]
    notices: tuple[str, ...]


def rows_of(named: Iterable[NamedEntry], labels: Mapping[Recipe, str], bases: GeneBases | None) -> Rows:
    """The rows of an assembly's genes.

    Args:
        named: the assembly's names that are gene ids, with their entries.
        labels: of the entries' recipes, for notices.
        bases: of the registered genes; None without registered genes.
    """
    listed = list(named)
    if bases is None:
        genes, listed, notices = _named(listed)
    else:
        genes, listed, notices = _registered(listed, bases)
    candidates: dict[Recipe, dict[str, dict[str, NamedEntry]]] = defaultdict(lambda: defaultdict(dict))
    # Of several names of one matrix, that with the gene's current place comes last, and is used.
    for match in sorted(listed, key=lambda match: _place(match.name) == _place_of(genes[match.name.name])):
        candidates[match.entry.namespace.recipe][match.name.name][match.entry.key] = match
    entries: dict[Recipe, dict[str, Entry]] = {}
    for recipe in sorted(candidates, key=labels.__getitem__):
        by_gene = {
            gene: sorted(matches.values(), key=lambda match: _age(match.entry))
            for gene, matches in candidates[recipe].items()
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
    listed: list[NamedEntry], bases: GeneBases
) -> tuple[dict[str, Gene], list[NamedEntry], list[str]]:
    """Registered genes by id, their names and entries, and a notice on genes that are not registered."""
    ids = {match.name.name for match in listed}
    genes = {gene: bases.genes[gene].gene for gene in ids & bases.genes.keys()}
    dropped = ids - genes.keys()
    notice = f"{len(dropped):,} genes with moments are not registered, and left out: {some(sorted(dropped))}"
    return genes, [match for match in listed if match.name.name in genes], [notice] if dropped else []


def _named(listed: list[NamedEntry]) -> tuple[dict[str, Gene], list[NamedEntry], list[str]]:
    """Genes by id at the place of their newest matrix, the names and entries there, and a notice."""
    newest: dict[str, NamedEntry] = {}
    for m in sorted(listed, key=lambda m: (_age(m.entry), _place(m.name)), reverse=True):
        newest[m.name.name] = m
    genes = {gene: _gene(m) for gene, m in newest.items()}
    in_place = [m for m in listed if _place(m.name) == _place(newest[m.name.name].name)]
    moved = {m.name.name for m in listed if _place(m.name) != _place(newest[m.name.name].name)}
    notice = (
        f"{len(moved):,} genes have moments of several places, of which the newest is used: "
        f"{some(sorted(moved))}; register the genes with covpool genome add"
    )
    return genes, in_place, [notice] if moved else []


def _gene(match: NamedEntry) -> Gene:
    name = match.name
    # A name without an interval has no place: it comes first, on no contig.
    place = name.chrom or "", name.start or 0, name.end or match.entry.length
    return Gene(name.name, name.name, *place, name.strand or "+")


def _place(name: Name) -> tuple[str, int, int, str]:
    return name.chrom or "", name.start or 0, name.end or 0, name.strand or ""


def _place_of(gene: Gene) -> tuple[str, int, int, str]:
    return gene.chrom, gene.start, gene.end, gene.strand


def _age(entry: Entry) -> tuple[float, str]:
    """Sort key: the newest first."""
    return -entry.created.timestamp() if entry.created else 0.0, entry.key


@dataclass
class _Choice:
    """For one recipe: the entry of each gene; numbers and genes for notices."""

    entries: dict[str, Entry] = field(default_factory=dict)
    older: int = 0
    of_other_bases: int = 0
    flanks: set[int] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    unchecked: set[str] = field(default_factory=set)
    why: str = ""

    def notices(self) -> Iterator[str]:
        """The notices, one sentence each."""
        if self.older:
            yield f"{self.older:,} older matrices of genes with several under one recipe were ignored"
        if len(self.flanks) > 1:
            listed = ", ".join(f"{flank:,}" for flank in sorted(self.flanks)[:LISTED])
            yield f"genes were read with different flanks ({listed} … bases), of which the newest is used"
        if self.of_other_bases:
            yield f"{self.of_other_bases:,} matrices of other bases than the genes have now were ignored"
        if self.stale:
            yield (
                f"{len(self.stale):,} genes have moments of other bases only, as their place, strand or "
                f"sequence was another; their rows are NaN: {some(sorted(self.stale))}"
            )
        if self.unchecked:
            yield (
                f"for {len(self.unchecked):,} genes it cannot be checked that their moments are of the bases "
                f"they have now ({self.why}); their rows are NaN: {some(sorted(self.unchecked))}"
            )


def _choice(candidates: _Candidates, bases: GeneBases | None) -> _Choice:
    choice = _Choice()
    for gene, matches in candidates.items():
        fitting = matches
        if bases is not None:
            fitting, flanks, why = _own(matches, bases)
            choice.why = why or choice.why
            if not fitting:
                (choice.unchecked if why else choice.stale).add(gene)
                continue
            choice.of_other_bases += len(matches) - len(fitting)
            # If the whole contig is read, a longer flank gives the same bases.
            if fitting[0].entry.length < bases.contig(gene):
                choice.flanks.add(flanks[0])
        choice.older += len(fitting) - 1
        choice.entries[gene] = fitting[0].entry
    return choice


def _own(matches: list[NamedEntry], bases: GeneBases) -> tuple[list[NamedEntry], list[int], str]:
    """The matches of a gene's current bases, their flanks, and why others could not be checked."""
    fitting, flanks, why = [], [], ""
    for match in matches:
        try:
            flank = bases.flank(match.name.name, match)
        except GenomeUnavailableError as error:
            why = str(error)
            continue
        if flank is not None:
            fitting.append(match)
            flanks.append(flank)
    return fitting, flanks, why
