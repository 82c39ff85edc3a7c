"""Answers that several routes send: jobs, pages of lists, bytes (conditional, partial or whole), notices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from covpool.service import schemas
from covpool.service.http import problems
from covpool.service.http.negotiation import UnsatisfiableRange, byte_range, is_unchanged
from covpool.service.queue import Job, Progress

P = TypeVar("P", schemas.BottleneckPage, schemas.GenomePage, schemas.ModelPage)

After = Annotated[str | None, Query(max_length=256, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="entries of a page")]

#: When `bottleneck` became another spelling of `pooling`, and `regions` of `selections`, as RFC 9745
#: writes it: 27 November 2026.
_SINCE = "@1795737600"


def job_body(job: Job, progress: Progress, tokens_per_s: float) -> schemas.Job:
    """The wire form of a job with this progress, at this rate of the workers."""
    return schemas.Job(
        id=job.id,
        state=progress.state,
        created=job.created,
        model=job.recipe.model,
        layer=job.recipe.layer,
        tokens=progress.tokens,
        tokens_done=progress.tokens_done,
        eta_s=progress.eta_s(tokens_per_s),
        records_total=progress.records,
        records_done=progress.records_done,
        records_failed=progress.records_failed,
        records=[schemas.JobRecord.model_validate(record, from_attributes=True) for record in job.records],
        notices=job.notices,
    )


def page_after(kind: type[P], bodies: Sequence[Any], after: str | None, limit: int) -> P:
    """The page of up to `limit` bodies after the body named `after`.

    Raises:
        HTTPException: 404, no body has this name.
    """
    names, start = [body.name for body in bodies], 0
    if after is not None:
        if after not in names:
            raise HTTPException(404, f"after={after!r}: no entry is called so; begin again without it")
        start = names.index(after) + 1
    end = start + limit
    return kind(data=list(bodies[start:end]), next=names[end - 1] if end < len(names) else None)


def deprecations(request: schemas.ModelOptions) -> Iterator[str]:
    """A notice for each deprecated field of a request."""
    if getattr(request, "bottleneck", None) is not None:
        yield "'bottleneck' is deprecated: give the name as 'pooling'"
    if getattr(request, "regions", None) is not None:
        yield "'regions' is deprecated: give the classes of bases as 'selections'"


def deprecated(request: schemas.ModelOptions, response: Response) -> Response:
    """The response, with the header `Deprecation` if the request has a deprecated field."""
    if any(deprecations(request)):
        response.headers["Deprecation"] = _SINCE
    return response


#: The content of a key never changes.
IMMUTABLE = "public, max-age=31536000, immutable"


def wanted_range(request: Request, tag: str, size: int) -> tuple[int, int] | Response | None:
    """[start, end) asked for, None for the whole, or the refusal of a range that begins after the end."""
    try:
        return byte_range(request.headers.get("range"), request.headers.get("if-range"), tag, size)
    except UnsatisfiableRange:
        detail = f"there are {size:,} bytes; ask for a range that begins before"
        headers = {"Content-Range": f"bytes */{size}"}
        return problems.problem(request, 416, "No such range", detail, headers)


def in_bytes(request: Request, body: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """304, 206, 416 or 200 with these bytes; `headers` hold the entity tag."""
    if is_unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=dict(headers))
    part = wanted_range(request, headers["ETag"], len(body))
    if isinstance(part, Response):
        return part
    all_headers = dict(headers) | {"Accept-Ranges": "bytes"}
    if part is None:
        return Response(body, media_type=media_type, headers=all_headers)
    start, end = part
    return Response(
        body[start:end],
        206,
        media_type=media_type,
        headers=all_headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"},
    )
