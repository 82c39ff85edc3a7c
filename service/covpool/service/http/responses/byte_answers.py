"""Byte answers: conditional, partial or whole; never in small pieces."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from covpool.service.http import problems
from covpool.service.http.negotiation import UnsatisfiableRange, byte_range, is_unchanged

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
