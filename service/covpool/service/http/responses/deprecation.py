"""Deprecated spellings: requests of 0.1 are understood, and the answer says what to write instead."""

from collections.abc import Iterator

from starlette.responses import Response

from covpool.service.schemas import JobRequest

#: When `bottleneck` became another spelling of `pooling`, as RFC 9745 writes it: 27 November 2026.
_SINCE = "@1795737600"


def deprecations(request: JobRequest) -> Iterator[str]:
    """A notice for each deprecated field that a request has."""
    if request.bottleneck is not None:
        yield "'bottleneck' is deprecated: give the name as 'pooling'"


def deprecated(request: JobRequest, response: Response) -> Response:
    """The response, with the header `Deprecation` where the request has a deprecated field."""
    if any(deprecations(request)):
        response.headers["Deprecation"] = _SINCE
    return response
