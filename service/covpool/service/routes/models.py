"""Models this service offers."""

from fastapi import APIRouter

from covpool.extractor.models import Options
from covpool.service import schemas
from covpool.service.context import Service
from covpool.service.openapi import refusals
from covpool.service.routes.pages import After, Limit, page_after
from covpool.service.tokens import allow

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[allow("read")])


@router.get("/models", summary="Models", responses=refusals(404))
def models(context: Service, after: After = None, limit: Limit = 100) -> schemas.ModelPage:
    """Every model served here, the bundled default first."""
    offered = context.offered
    body = []
    for model in offered.models.values():
        species = model.conditions[0] if model.conditions else ""
        recipe = model.recipe(options=Options(condition=species), dtype=context.settings.dtype)
        default = offered.default_bottleneck(recipe)
        body.append(
            schemas.Model(
                id=model.name,
                name=model.name,
                family=model.family.name,
                trained=model.trained,
                summary=model.summary,
                licence=model.licence,
                weights=model.weights,
                default_layer=model.default_layer,
                default_bottleneck=default.name if default else None,
                max_bases=model.max_bases,
                species=list(model.conditions),
                layers=[
                    schemas.Layer(name=one.name, width=one.width, bases_per_token=one.bases_per_token)
                    for one in model.layers
                ],
            )
        )
    page, following = page_after([(one.name, one) for one in body], after, limit)
    return schemas.ModelPage(data=page, next=following)
