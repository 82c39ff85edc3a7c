"""Bottlenecks: list them, fit one from cached moments as a job, fetch its file."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from covpool.extractor.fitting.fits import METHODS
from covpool.service import schemas
from covpool.service.database.tokens import allow
from covpool.service.errors import RequestError
from covpool.service.fitting.fits import Fit
from covpool.service.http.context import Context, Service
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json
from covpool.service.http.responses.answers import After, Limit, page_after
from covpool.service.submission.submission import options_of, require_options_of
from covpool.store.poolings.fitted import FittedPooling, check_name
from covpool.store.poolings.kinds import pooling

router = APIRouter(prefix="/v1/bottlenecks", tags=["bottlenecks"])

#: Settings of a fit, among the fields of a request.
_SETTINGS = schemas.BottleneckRequest.model_fields.keys() - {
    *schemas.ExtractionOptions.model_fields,
    *("name", "method", "k", "job", "targets"),
}


@router.get("", summary="Bottlenecks", responses=refusals(404), dependencies=[allow("read")])
def bottlenecks(context: Service, after: After = None, limit: Limit = 100) -> schemas.BottleneckPage:
    """Every bottleneck served here; queued and failed fits have entries under their names only."""
    bodies = [_body(bottleneck) for bottleneck in context.served.every_bottleneck().values()]
    return page_after(schemas.BottleneckPage, bodies, after, limit)


@router.post(
    "",
    summary="Fit a bottleneck from cached moments",
    status_code=202,
    response_model=schemas.BottleneckFit,
    responses=refusals(404, 409, 415),
    openapi_extra=body_of(schemas.BottleneckRequest, method=METHODS),
    dependencies=[allow("submit")],
)
async def fit(request: Request, context: Service) -> Response:
    """Queue a fit on the moments of a job, or on all that are cached of a model's layer. No model runs."""
    body = await read_json(request, schemas.BottleneckRequest)
    state = await run_in_threadpool(_submitted, body, context)
    return JSONResponse(state.model_dump(mode="json"), 202, {"Location": f"/v1/bottlenecks/{body.name}"})


def _submitted(request: schemas.BottleneckRequest, context: Context) -> schemas.BottleneckFit:
    check_name(request.name)
    if request.name in context.served.bottlenecks:
        raise RequestError(f"a bottleneck called {request.name!r} is served already; choose another name")
    if request.method not in METHODS:
        raise RequestError(f"method {request.method!r} is not one of {', '.join(METHODS)}")
    supervised = METHODS[request.method].supervised
    if not supervised and request.targets is not None:
        raise RequestError(f"method {request.method!r} takes no targets; leave them out")
    if supervised and (request.targets is None or request.job is None):
        raise RequestError(f"method {request.method!r} needs a job, and targets of its records by name")
    if request.features is not None:
        # Raises now what the fit would raise hours later.
        pooling(request.features)
    if request.job is not None:
        recipe = context.queue.job(request.job).recipe
        require_options_of(recipe, request)
    else:
        model = context.served.model(request.model)
        recipe = model.recipe(request.layer, options_of(request), dtype=context.settings.dtype)
    chosen = {name: value for name in sorted(_SETTINGS) if (value := getattr(request, name)) is not None}
    asked = {
        "name": request.name, "method": request.method, "k": request.k, "recipe": recipe.to_json(),
        "job": request.job, "settings": chosen, "targets": request.targets,
    }  # fmt: skip
    return _state(context.fits.submit(request.name, asked), context)


@router.get(
    "/{name}",
    summary="One bottleneck",
    responses=refusals(404),
    dependencies=[allow("read")],
    operation_id="one_v1_bottlenecks__name__get",
)
def bottleneck(name: str, context: Service) -> schemas.BottleneckFit:
    """State of a fit, and the bottleneck once it is served."""
    served = context.served.every_bottleneck().get(name)
    try:
        return _state(context.fits.get(name), context)
    except KeyError:
        if served is None:
            raise HTTPException(404, f"no bottleneck is called {name!r}; see /v1/bottlenecks") from None
        return schemas.BottleneckFit(name=name, state="done", error=None, bottleneck=_body(served))


@router.get(
    "/{name}/file",
    summary="File of a fitted bottleneck",
    response_class=Response,
    responses={200: {"content": {schemas.SAFETENSORS: {}}}, **refusals(404)},
    dependencies=[allow("read")],
)
def file(name: str, context: Service) -> Response:
    """The safetensors file of a fit that is done, as `covpool train-bottleneck` writes it."""
    content = context.fits.file(name)
    if content is None:
        if name in context.served.bottlenecks:
            raise HTTPException(404, f"{name} was not fitted here: its file is with the service's operator")
        raise HTTPException(404, f"no fit called {name!r} is done; see /v1/bottlenecks")
    return Response(content, media_type=schemas.SAFETENSORS)


def _state(fit: Fit, context: Context) -> schemas.BottleneckFit:
    served = context.fits.served(fresh=True).get(fit.name) if fit.state == "done" else None
    return schemas.BottleneckFit(
        name=fit.name, state=fit.state, error=fit.error, bottleneck=_body(served) if served else None
    )


def _body(fitted: FittedPooling) -> schemas.Bottleneck:
    return schemas.Bottleneck(
        name=fitted.name,
        model=fitted.recipe.model if fitted.recipe else "",
        layer=fitted.recipe.layer if fitted.recipe else "",
        width=fitted.width,
        k=fitted.shape[-1],
        kind=fitted.kind,
        shape=list(fitted.shape),
        digest=fitted.digest,
        fit=dict(fitted.fit),
    )
