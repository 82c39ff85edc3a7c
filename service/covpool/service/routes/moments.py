"""Moments: one cached matrix as bytes, by key; immutable, so cached anywhere for ever."""

import io
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header
from safetensors.numpy import save
from starlette.responses import Response

from covpool.service.context import Service
from covpool.service.routes.answers import PROBLEMS
from covpool.service.schemas import NPY, SAFETENSORS
from covpool.store.errors import KeyNotFoundError
from covpool.store.keys import is_digest

router = APIRouter(prefix="/v1/moments", tags=["moments"])


@router.api_route(
    "/{key}",
    methods=["GET", "HEAD"],
    summary="One matrix",
    response_class=Response,
    responses={
        200: {
            "description": "The second moment C, (d, d), as npy; or count, mean and C as safetensors",
            "content": {NPY: {}, SAFETENSORS: {}},
        },
        304: {"description": "Not modified: the client's copy is this key's"},
        **PROBLEMS,
    },
)
def moments(
    key: str,
    context: Service,
    accept: Annotated[str, Header()] = NPY,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The second moment as npy; `Accept: application/x-safetensors` gives count and mean beside it."""
    if not is_digest(key):
        raise KeyNotFoundError(
            f"{key[:80]}: a key is 64 hexadecimal digits; take one from a job or the index"
        )
    entry = context.store.entry(key)
    as_safetensors = SAFETENSORS in accept
    # The key names the content, and nothing else will ever be served under it; each form has its own tag.
    tag = f'"{key}.safetensors"' if as_safetensors else f'"{key}"'
    headers = {
        "ETag": tag,
        "Vary": "Accept",
        "Cache-Control": "public, max-age=31536000, immutable",
        "Covpool-Count": str(entry.count),
    }
    if if_none_match is not None and (if_none_match.strip() == "*" or tag in if_none_match):
        return Response(status_code=304, headers=headers)
    found = context.store.get(key)
    if as_safetensors:
        tensors = {
            "count": np.array([found.count], np.int64),
            "mean": found.mean,
            "second_moment": found.second_moment,
        }
        return Response(save(tensors, {"key": key}), media_type=SAFETENSORS, headers=headers)
    buffer = io.BytesIO()
    np.save(buffer, found.second_moment, allow_pickle=False)
    return Response(buffer.getvalue(), media_type=NPY, headers=headers)
