"""Exceptions to RFC 9457 problem documents."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from covpool.extractor.errors import (
    CheckpointError,
    ConditionError,
    ExtractionError,
    LayerError,
    ModelNotFoundError,
    SequenceError,
)
from covpool.service.errors import JobNotFoundError, RequestError
from covpool.service.schemas import PROBLEM, Problem
from covpool.store.errors import BottleneckError, CorruptEntryError, KeyNotFoundError, StoreError

log = logging.getLogger(__name__)

_STATUS: dict[type[Exception], tuple[int, str]] = {
    SequenceError: (422, "Not a DNA sequence"),
    ModelNotFoundError: (404, "Unknown model"),
    LayerError: (404, "Unknown layer"),
    ConditionError: (422, "Species does not fit the model"),
    RequestError: (422, "Request cannot be served as asked"),
    JobNotFoundError: (404, "Unknown job"),
    KeyNotFoundError: (404, "Not cached"),
    BottleneckError: (409, "Bottleneck does not fit"),
    CorruptEntryError: (500, "Cached matrix is damaged"),
    CheckpointError: (500, "Checkpoint is damaged"),
    ExtractionError: (500, "Extraction failed"),
    StoreError: (503, "Store is not available"),
}


def install(app: FastAPI) -> None:
    """Answer every error of ours, of the framework and of bugs with a problem document."""
    for kind in _STATUS:
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _bug)


def problem(request: Request, status: int, title: str, detail: str) -> Response:
    """A problem document about this request."""
    body = Problem(title=title, status=status, detail=detail, instance=request.url.path)
    return JSONResponse(body.model_dump(), status, media_type=PROBLEM)


def _ours(request: Request, error: Exception) -> Response:
    status, title = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return problem(request, status, title, str(error))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = problem(request, error.status_code, "Request refused", str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The rejected input itself is left out: it may be a sequence.
    details = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return problem(request, 422, "Request is not valid", details)


def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(request, 500, "Internal error", "the service failed on this request; its log says why")
