"""Wire bytes to numpy."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from covpool.clients.errors import ClientError, ProblemError, UnreachableError
from covpool.service.schemas import Embedding, EmbeddingResponse, Job


@dataclass(frozen=True, slots=True, eq=False)
class FetchedMoments:
    """Moments of one key as fetched.

    Attributes:
        key: 64 hexadecimal digits.
        count: tokens T.
        mean: (d,) mean of the activations.
        second_moment: (d, d) XᵀX / T, not centred.
    """

    key: str
    count: int
    mean: NDArray[Any]
    second_moment: NDArray[Any]


def decode_moments(key: str, body: bytes) -> FetchedMoments:
    """The safetensors body of `/v1/moments/{key}`.

    Raises:
        ClientError: it is none.
    """
    try:
        tensors = load(body)
    except SafetensorError as error:
        raise ClientError(f"{key}: what came is no matrix ({error}); is it a covpool service?") from error
    return FetchedMoments(key, int(tensors["count"][0]), tensors["mean"], tensors["second_moment"])


def decode_embeddings(data: list[Embedding]) -> NDArray[np.float32]:
    """(n, k, k), or (n, size) of vectors, float32, from base64 or JSON numbers; of one at least."""
    rows = [
        np.frombuffer(base64.b64decode(one.embedding), "<f4")
        if isinstance(one.embedding, str)
        else np.asarray(one.embedding, np.float32)
        for one in data
    ]
    return np.stack([row.reshape(one.shape) for row, one in zip(rows, data, strict=True)]).astype(np.float32)


def decode_stream(keys: list[str], parts: Iterator[bytes]) -> Iterator[FetchedMoments]:
    """The body of a stream of moments (see `MOMENTS_STREAM`), in the order of the keys it was asked for.

    Raises:
        ProblemError: a matrix is damaged at the service.
        UnreachableError: the stream ends before its end, or holds other keys.
    """
    frames = _frames(parts)
    for key in keys:
        frame = next(frames, None)
        if frame is None:
            raise UnreachableError(f"{key}: the stream ended before it; fetch again from there")
        notes = _metadata(frame)
        if notes.get("key") != key:
            raise UnreachableError(f"{key}: the stream holds {notes.get('key')} in its place; fetch again")
        if "error" in notes:
            raise ProblemError(500, "Cached matrix is damaged", notes["error"])
        yield decode_moments(key, frame)


def _frames(parts: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()

    def take(size: int) -> bytes:
        while len(held) < size:
            part = next(parts, None)
            if part is None:
                raise UnreachableError("the stream of moments broke off; fetch again")
            held.extend(part)
        taken = bytes(held[:size])
        del held[:size]
        return taken

    while size := int.from_bytes(take(8), "little"):
        yield take(size)


def _metadata(body: bytes) -> dict[str, str]:
    """The text metadata in a safetensors header: a little-endian uint64 length, then so much JSON."""
    size = int.from_bytes(body[:8], "little")
    found: dict[str, str] = json.loads(body[8 : 8 + size]).get("__metadata__", {})
    return found


def rows_of(job: Job, answer: EmbeddingResponse, *, square: bool) -> NDArray[np.float32]:
    """Embeddings of a job that has ended, one row a record; NaN where there is no result.

    Args:
        job: with its records.
        answer: its embeddings.
        square: in their own shape instead of flat.
    """
    found = decode_embeddings(answer.data)
    rows = np.full((len(job.records), *found.shape[1:]), np.nan, np.float32)
    rows[[one.index for one in answer.data]] = found
    return rows if square else rows.reshape(len(rows), -1)
