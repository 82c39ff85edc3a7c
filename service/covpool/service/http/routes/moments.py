"""Moments: cached matrices as bytes, by key; immutable unless replaced, so any cache may keep them.

The entity tag is a digest of the bytes sent: two answers with the same tag are equal.
"""

import io
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Request
from numpy.lib import format as npy
from safetensors.numpy import save
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from covpool.service.database.tokens import allow
from covpool.service.errors import MatrixLostError
from covpool.service.http.body_cache import Encoded
from covpool.service.http.context import Context, Service
from covpool.service.http.healing import read_whole
from covpool.service.http.negotiation import preferred
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json
from covpool.service.http.responses.answers import IMMUTABLE, in_bytes
from covpool.service.http.threads import compute
from covpool.service.schemas import MOMENTS_STREAM, NPY, SAFETENSORS, STORED, MomentsRequest
from covpool.store.catalog.entries import Entry
from covpool.store.errors import CorruptEntryError, KeyNotFoundError
from covpool.store.values.keys import is_digest, sha256

router = APIRouter(prefix="/v1/moments", tags=["moments"], dependencies=[allow("read")])

_FORMS = (NPY, SAFETENSORS, STORED)
#: A key is a digest, from which no sequence can be recovered.
_COMPUTE_IT = "extract it first: send the sequence it stands for to /v1/jobs, or take a key from /v1/index"
_BYTES = {"schema": {"type": "string", "format": "binary"}}


_ONE: dict[str, Any] = {
    "summary": "One matrix",
    "response_class": Response,
    "responses": {
        200: {
            "description": "The second moment C, (d, d), as npy; count, mean and C as safetensors; or the "
            "packed chunk of C as the store holds it",
            "content": {NPY: _BYTES, SAFETENSORS: _BYTES, STORED: _BYTES},
        },
        206: {
            "description": "The bytes of a single `Range`",
            "content": {NPY: _BYTES, SAFETENSORS: _BYTES, STORED: _BYTES},
        },
        304: {"description": "Not modified: the client's copy is this key's"},
        **refusals(404, 406, 410, 416),
    },
}


@router.head("/{key}", **_ONE)
@router.get("/{key}", **_ONE)
async def moments(
    key: str,
    request: Request,
    context: Service,
    accept: Annotated[str | None, Header(description="weighed by quality; npy without it")] = None,
) -> Response:
    """The second moment in the form that `Accept` weighs highest; `ETag` is a digest of the bytes."""
    if not is_digest(key):
        raise KeyNotFoundError(
            f"{key[:80]!r}: a key is 64 hexadecimal digits; take one from a job or the index"
        )
    form = preferred(accept, _FORMS)
    if form is None:
        raise HTTPException(406, f"there is {', '.join(_FORMS)}; accept one of them")
    # Read each time: an encoded body in memory is valid only for the present row.
    entry = await run_in_threadpool(_entry, key, context)
    encoded = context.bodies.get(key, form, entry.place)
    context.metrics.looked_up("bodies", hits=int(encoded is not None), misses=int(encoded is None))
    if encoded is None:
        encoded = await compute(_encoded, entry, form, context)
        context.bodies.put(key, encoded)
    return in_bytes(request, encoded.body, encoded.media_type, encoded.headers)


@router.post(
    "",
    summary="Many matrices in one answer",
    response_class=Response,
    openapi_extra=body_of(MomentsRequest),
    responses={
        200: {
            "description": "Frames in the order of the keys, each a little-endian uint64 length and so many "
            "bytes of safetensors (count, mean, second_moment; metadata `key`). A frame without tensors "
            "has metadata `error`: that key's matrix is damaged. A length of zero ends the stream.",
            "content": {MOMENTS_STREAM: _BYTES},
        },
        **refusals(404, 415),
    },
)
async def many(request: Request, context: Service) -> Response:
    """Count, mean and second moment of up to 10,000 keys, streamed; one matrix is in memory at a time."""
    keys = (await read_json(request, MomentsRequest)).keys
    ready = await run_in_threadpool(context.store.catalog.ready_among, keys)
    if missing := [key for key in keys if key not in ready]:
        raise KeyNotFoundError(
            f"{len(missing)} of {len(keys)} keys are not in the store, first {missing[0]}; {_COMPUTE_IT}"
        )
    return StreamingResponse(_frames(keys, context), media_type=MOMENTS_STREAM)


def _frames(keys: list[str], context: Context) -> Iterator[bytes]:
    for key in keys:
        try:
            body = read_whole(context, key, lambda name: _as_safetensors(name, context))
        except (CorruptEntryError, KeyNotFoundError, MatrixLostError) as error:
            body = save({}, {"key": key, "error": str(error)})
        yield len(body).to_bytes(8, "little")
        yield body
    yield bytes(8)


def _entry(key: str, context: Context) -> Entry:
    try:
        return context.store.entry(key)
    except KeyNotFoundError:
        raise KeyNotFoundError(f"{key}: not in the store; {_COMPUTE_IT}") from None


def _encoded(entry: Entry, form: str, context: Context) -> Encoded:
    encode = {NPY: _as_npy, SAFETENSORS: _as_safetensors, STORED: _as_stored}[form]
    body = read_whole(context, entry.key, lambda name: encode(name, context))
    return Encoded(body, form, _headers(entry, sha256(body)), entry.place)


def _headers(entry: Entry, digest: str) -> dict[str, str]:
    return {
        "ETag": f'"{digest}"',
        "Vary": "Accept",
        "Cache-Control": IMMUTABLE,
        "Covpool-Count": str(entry.count),
        "Covpool-Codec": entry.namespace.codec,
        "Covpool-Error": repr(entry.error),
        "Covpool-Dtype": entry.namespace.dtype,
        "Covpool-Width": str(entry.namespace.width),
    }


def _as_npy(key: str, context: Context) -> bytes:
    matrix = context.store.get(key).second_moment
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(matrix))
    # `np.save` would copy the matrix twice.
    return head.getvalue() + matrix.data


def _as_safetensors(key: str, context: Context) -> bytes:
    moments = context.store.get(key)
    tensors = {
        "count": np.array([moments.count], np.int64),
        "mean": moments.mean,
        "second_moment": moments.second_moment,
    }
    return save(tensors, {"key": key})


def _as_stored(key: str, context: Context) -> bytes:
    return context.store.chunk(key)
