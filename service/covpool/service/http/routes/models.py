"""Models this service offers."""

from fastapi import APIRouter

from covpool.extractor.models.models import Model
from covpool.extractor.models.options import Options
from covpool.service import schemas
from covpool.service.database.tokens import allow
from covpool.service.http.context import Context, Service
from covpool.service.http.openapi import refusals
from covpool.service.http.responses.answers import After, Limit, page_after

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[allow("read")])


@router.get("", summary="Models", responses=refusals(404))
# Otherwise this path would ask for a model with an empty name.
@router.get("/", include_in_schema=False)
def models(context: Service, after: After = None, limit: Limit = 100) -> schemas.ModelPage:
    """Every model served here, the bundled default first."""
    bodies = [_body(model, context) for model in context.served.current_models()]
    return page_after(schemas.ModelPage, bodies, after, limit)


@router.get(
    "/{model:path}", summary="One model", responses=refusals(404), operation_id="one_v1_models__model__get"
)
def model_of(model: str, context: Service) -> schemas.Model:
    """The model of this id; the slashes of a hub id may be written as they are, or as %2F."""
    return _body(context.served.model(model), context)


def _written(model: Model) -> int:
    try:
        return int(model.checkpoint.config_file.stat().st_mtime)
    except OSError:
        # Workers on other hosts may still have it.
        return 0


def _body(model: Model, context: Context) -> schemas.Model:
    species = model.conditions[0] if model.conditions else ""
    recipe = model.recipe(options=Options(condition=species), dtype=context.settings.dtype)
    default = context.served.default_bottleneck(recipe)
    return schemas.Model(
        id=model.name,
        created=_written(model),
        owned_by=model.name.rpartition("/")[0] or "local",
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
            schemas.Layer(name=layer.name, width=layer.width, bases_per_token=layer.bases_per_token)
            for layer in model.layers
        ],
    )
