"""Index: what is cached."""

from typing import Annotated

from fastapi import APIRouter, Query

from covpool.service.assemblies.gene_bases import GeneBases
from covpool.service.assemblies.plan import GENE_KINDS
from covpool.service.database.tokens import allow
from covpool.service.errors import GenomeUnavailableError, RequestError
from covpool.service.http.context import Context, Service
from covpool.service.http.responses.pages import After, Limit
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
    """Ready entries in key order, a page at a time; with `name`, those of the genes that go by it.

    What is known to be of other bases than a registered gene of that name has now, as after a change of
    annotation, is left out and counted as `stale`.
    """
    stale = 0
    if name is not None:
        named = context.store.names.find(
            name, assembly=assembly, model=model, layer=layer, selection=selection
        )
        own = _own(name, named, context)
        stale = len({one.entry.key for one in named} - {one.entry.key for one in own})
        entries = {one.entry.key: one.entry for one in own if after is None or one.entry.key > after}
        found = [entries[key] for key in sorted(entries)[: limit + 1]]
    elif assembly is not None:
        raise RequestError("'assembly' goes with 'name'; its genes are listed in /v1/genomes/{name}/genes")
    else:
        found = context.store.catalog.entries(
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
        for entry in found[:limit]
    ]
    return IndexPage(entries=page, next=page[-1].key if len(found) > limit else None, stale=stale)


def _own(name: str, found: list[NamedEntry], context: Context) -> list[NamedEntry]:
    """Those that are not known to be of other bases than the registered genes of this name have now."""
    kept = []
    bases = {one: context.genomes.bases(one, called=name) for one in {one.name.assembly for one in found}}
    for one in found:
        of = bases[one.name.assembly]
        if one.name.kind not in GENE_KINDS or of is None or not of.genes or _is_of(of, one):
            kept.append(one)
    return kept


def _is_of(bases: GeneBases, found: NamedEntry) -> bool:
    try:
        return any(bases.flank(gene, found) is not None for gene in bases.genes)
    except GenomeUnavailableError:
        # This host cannot tell; a list of what there is leaves out only what it knows to be wrong.
        return True
