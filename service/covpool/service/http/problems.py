"""Problems: turns exceptions into problem documents (RFC 9457)."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from covpool.extractor.errors import (
    CheckpointError,
    ConditionError,
    ExtractionError,
    FitError,
    GenomeFileError,
    LayerError,
    ModelNotFoundError,
    RegionError,
    SequenceError,
)
from covpool.service.errors import (
    GenomeNotFoundError,
    GenomeUnavailableError,
    JobNotFoundError,
    MatrixLostError,
    NotReadyError,
    QueueFullError,
    RequestError,
)
from covpool.service.logs import request_id
from covpool.service.schemas import PROBLEM, Problem
from covpool.store.errors import (
    BottleneckError,
    CorruptEntryError,
    KeyNotFoundError,
    PoolingError,
    ReadOnlyError,
    StoreError,
)

log = logging.getLogger(__name__)

#: Characters of `detail`: an answer does not repeat all that was sent.
_LONGEST_DETAIL = 2000

_STATUS: dict[type[Exception], tuple[int, str]] = {
    GenomeFileError: (503, "Genome is not available"),
    SequenceError: (422, "Not a DNA sequence"),
    RegionError: (422, "No such region"),
    ModelNotFoundError: (404, "Unknown model"),
    LayerError: (404, "Unknown layer"),
    ConditionError: (422, "Species does not fit the model"),
    RequestError: (422, "Request cannot be served as asked"),
    JobNotFoundError: (404, "Unknown job"),
    GenomeNotFoundError: (404, "Unknown genome or gene"),
    GenomeUnavailableError: (503, "Genome is not available"),
    QueueFullError: (429, "Queue is full"),
    NotReadyError: (503, "Not ready yet"),
    KeyNotFoundError: (404, "Not cached"),
    BottleneckError: (409, "Bottleneck does not fit"),
    PoolingError: (422, "Pooling cannot be applied or fitted"),
    FitError: (422, "Pooling cannot be applied or fitted"),
    MatrixLostError: (410, "Cached matrix was damaged"),
    CorruptEntryError: (500, "Cached matrix is damaged"),
    CheckpointError: (500, "Checkpoint is damaged"),
    ExtractionError: (500, "Extraction failed"),
    # Not 503: this service never serves the request, however often it is sent again.
    ReadOnlyError: (403, "Service is read-only"),
    StoreError: (503, "Store is not available"),
}


def install(app: FastAPI) -> None:
    """Answer our errors and those of the framework with a problem document."""
    for kind in _STATUS:
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


def problem(
    request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document about this request."""
    # Text from a request may hold lone surrogates, which are not valid in JSON.
    text = detail[:_LONGEST_DETAIL].encode("utf-8", "backslashreplace").decode()
    body = Problem(
        title=title,
        status=status,
        detail=text,
        message=f"{title}: {text}",
        instance=request.url.path,
        request_id=request_id.get(),
    )
    return JSONResponse(body.model_dump(), status, headers, media_type=PROBLEM)


def unhandled(request: Request, error: Exception) -> Response:
    """The answer to an error outside of the routes.

    It may be one of ours, as when the database fails while a token is looked up. The traceback of an
    unexpected error goes to the log, under the request's id.
    """
    if any(kind in _STATUS for kind in type(error).__mro__):
        return _ours(request, error)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(
        request,
        500,
        "Internal error",
        "the service failed on this request; its log says why, under this request_id",
    )


def _ours(request: Request, error: Exception) -> Response:
    status, title = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if status >= 500 and not isinstance(error, NotReadyError):
        log.error("%s %s: %s", request.method, request.url.path, error)
    response = problem(request, status, title, str(error))
    if isinstance(error, QueueFullError | NotReadyError):
        response.headers["Retry-After"] = str(error.retry_after_s)
        # OpenAI's clients read this header first.
        response.headers["retry-after-ms"] = str(1000 * error.retry_after_s)
    if isinstance(error, MatrixLostError):
        # Caches may keep a 410, and the matrix may be computed again at any time.
        response.headers["Cache-Control"] = "no-store"
    if isinstance(error, NotReadyError):
        response.headers["Location"] = f"/v1/jobs/{error.job}"
    return response


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 405:
        # The router names only the methods of the first route at a path.
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"this path takes {headers['Allow']}, and not {request.method[:20]}; see /docs"
    elif detail == HTTPStatus(error.status_code).phrase:
        # The router's own text.
        detail = "there is nothing at this path; see /docs for those there are"
    return problem(request, error.status_code, "Request refused", detail, headers)


def _methods(request: Request) -> list[str]:
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "POST")
        for asked in [dict(request.scope) | {"method": method}]
        if any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)
    ]


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The rejected input itself is left out: it may be a sequence.
    details = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return problem(request, 422, "Request is not valid", details)
