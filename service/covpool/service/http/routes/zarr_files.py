"""Zarr files: the store's arrays, read-only, for any Zarr reader over HTTP.

`zarr.open_group("http://…/zarr/<namespace>")` lists its members without a listing over HTTP: the metadata of
a group are sent with theirs. Rows are found in `/v1/index`; chunks of rows that are not listed there must not
be read.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from covpool.service.database.tokens import allow
from covpool.service.http.context import Service
from covpool.service.http.openapi import refusals
from covpool.service.http.responses.answers import in_bytes, wanted_range
from covpool.store.values.keys import sha256

router = APIRouter(prefix="/zarr", tags=["zarr"], dependencies=[allow("read")])

_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_BYTES = {"application/octet-stream": _SCHEMA, "application/json": {"schema": {"type": "object"}}}


_FILE: dict[str, Any] = {
    "summary": "A file of the Zarr hierarchy",
    "response_class": Response,
    "responses": {
        200: {"description": "The bytes as stored", "content": _BYTES},
        206: {"description": "The bytes of a single `Range`", "content": _BYTES},
        304: {"description": "Not modified: of a group's metadata"},
        **refusals(404, 416),
    },
}


@router.head("/{path:path}", **_FILE)
@router.get("/{path:path}", **_FILE)
async def stored_file(path: str, request: Request, context: Service) -> Response:
    """`zarr.json` of root, namespace or array, or a chunk; anything else does not exist.

    The metadata of a group hold those of its members (`consolidated_metadata`), as of now.
    """
    files = context.store.files
    if (group := await files.group(path)) is not None:
        headers = {"ETag": f'"{sha256(group)[:32]}"', "Cache-Control": "no-cache"}
        return in_bytes(request, group, "application/json", headers)
    size = await files.size(path)
    if size is None:
        raise HTTPException(404, "no such file in the store; namespaces and rows are listed in /v1/index")
    part = wanted_range(request, "", size)
    if isinstance(part, Response):
        return part
    start, end = part or (0, size)
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    kind = "application/json" if path.endswith("zarr.json") else "application/octet-stream"
    status = 206 if part is not None else 200
    if request.method == "HEAD":
        return Response(None, status, headers | {"Content-Length": str(end - start)}, kind)
    body = await files.read(path, start, end)
    if body is None:
        raise HTTPException(404, "the file is gone; ask /v1/index again")
    return Response(body, status, headers, kind)
