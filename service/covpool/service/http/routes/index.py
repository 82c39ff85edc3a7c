"""Index: what is cached."""

from typing import Annotated

from fastapi import APIRouter, Query

from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.assemblies.plan import GENE_KINDS
from covpool.service.database.tokens import allow
from covpool.service.errors import GenomeUnavailableError, RequestError
from covpool.service.http.context import Context, Service
from covpool.service.http.responses.answers import After, Limit
from covpool.service.schemas import IndexEntry, IndexPage
from covpool.store.arrays.schema import ARRAYS, generation_path
from covpool.store.catalog.names import NamedEntry

router = APIRouter(prefix="/v1/index", tags=["index"], dependencies=[allow("read")])


Name = Annotated[str | None, Query(max_length=256, description="of the recipe")]


@router.get("", summary="Cached results")
def index(
    context: Service,
    model: Name = None,
    layer: Name = None,
    selection: Annotated[
        str | None, Query(max_length=256, description="class of bases: `whole`, `CDS`, …")
    ] = None,
    name: Annotated[str | None, Query(max_length=256, description="of a gene: id, symbol or alias")] = None,
    assembly: Annotated[str | None, Query(max_length=256, description="that the name belongs to")] = None,
    after: After = None,
    limit: Limit = 100,
) -> IndexPage:
    """Ready entries in key order, a page at a time; with `name`, those of the genes with this name.

    Results of other bases than the registered gene of that name has now, as after a change of annotation,
    are left out and counted as `stale`.
    """
    stale = 0
    if name is not None:
        named = context.store.names.find(
            name, assembly=assembly, model=model, layer=layer, selection=selection
        )
        own = _own(name, named, context)
        stale = len({match.entry.key for match in named} - {match.entry.key for match in own})
        entries = {match.entry.key: match.entry for match in own if after is None or match.entry.key > after}
        listed = [entries[key] for key in sorted(entries)[: limit + 1]]
    elif assembly is not None:
        raise RequestError("'assembly' goes with 'name'; its genes are listed in /v1/genomes/{name}/genes")
    else:
        listed = context.store.catalog.entries(
            model=model, layer=layer, selection=selection, after=after, limit=limit + 1
        )
    page = [
        IndexEntry(
            key=entry.key,
            sequence=entry.sequence,
            length=entry.length,
            count=entry.count,
            width=entry.namespace.width,
            dtype=entry.namespace.dtype,
            codec=entry.namespace.codec,
            error=entry.error,
            model=entry.namespace.recipe.model,
            layer=entry.namespace.recipe.layer,
            strand=entry.namespace.recipe.strand,
            selection=entry.namespace.recipe.selection,
            created=entry.created,
            namespace=generation_path(entry.namespace, entry.place.generation).removeprefix(f"{ARRAYS}/"),
            row=entry.row,
        )
        for entry in listed[:limit]
    ]
    return IndexPage(entries=page, next=page[-1].key if len(listed) > limit else None, stale=stale)


def _own(name: str, matches: list[NamedEntry], context: Context) -> list[NamedEntry]:
    """Matches that are not known to have other bases than the registered genes of this name."""
    kept = []
    assemblies = {match.name.assembly for match in matches}
    bases = {assembly: context.genomes.bases(assembly, called=name) for assembly in assemblies}
    for match in matches:
        of = bases[match.name.assembly]
        if match.name.kind not in GENE_KINDS or of is None or not of.genes or _is_of(of, match):
            kept.append(match)
    return kept


def _is_of(bases: GeneBases, match: NamedEntry) -> bool:
    try:
        return any(bases.flank(gene, match) is not None for gene in bases.genes)
    except GenomeUnavailableError:
        # This host cannot read the bases; the list leaves out only what is known to differ.
        return True
