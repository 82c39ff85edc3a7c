"""Index: what is cached."""

from typing import Annotated

from fastapi import APIRouter, Query

from covpool.service.context import Service
from covpool.service.schemas import IndexEntry, IndexPage

router = APIRouter(prefix="/v1/index", tags=["index"])


@router.get("", summary="Cached results")
def index(
    context: Service,
    model: str | None = None,
    layer: str | None = None,
    after: Annotated[str | None, Query(description="last key of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> IndexPage:
    """Ready entries in key order, a page at a time."""
    found = context.store.catalog.entries(model=model, layer=layer, after=after, limit=limit + 1)
    page = [
        IndexEntry(
            key=entry.key,
            sequence=entry.sequence,
            length=entry.length,
            count=entry.count,
            width=entry.namespace.width,
            dtype=entry.namespace.dtype,
            model=entry.namespace.recipe.model,
            layer=entry.namespace.recipe.layer,
            strand=entry.namespace.recipe.strand,
            created=entry.created,
        )
        for entry in found[:limit]
    ]
    return IndexPage(entries=page, next=page[-1].key if len(found) > limit else None)
