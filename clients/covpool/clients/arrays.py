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
        ClientError: the body is not safetensors.
    """
    try:
        tensors = load(body)
    except SafetensorError as error:
        raise ClientError(f"{key}: the answer is not a matrix ({error}); is it a covpool service?") from error
    return FetchedMoments(key, int(tensors["count"][0]), tensors["mean"], tensors["second_moment"])


def decode_embeddings(data: list[Embedding]) -> NDArray[np.float32]:
    """(n, k, k), or (n, size) for vectors, float32, from base64 or JSON numbers; n is at least 1."""
    rows = [
        np.frombuffer(base64.b64decode(x.embedding), "<f4")
        if isinstance(x.embedding, str)
        else np.asarray(x.embedding, np.float32)
        for x in data
    ]
    return np.stack([row.reshape(x.shape) for row, x in zip(rows, data, strict=True)]).astype(np.float32)


def decode_stream(keys: list[str], parts: Iterator[bytes]) -> Iterator[FetchedMoments]:
    """The body of a stream of moments (see `MOMENTS_STREAM`), in the order of the requested keys.

    Raises:
        ProblemError: a matrix is damaged at the service.
        UnreachableError: the stream is incomplete, or has other keys.
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
                raise UnreachableError("the stream of moments was interrupted; fetch again")
            held.extend(part)
        taken = bytes(held[:size])
        del held[:size]
        return taken

    while size := int.from_bytes(take(8), "little"):
        yield take(size)


def _metadata(body: bytes) -> dict[str, str]:
    """The text metadata in a safetensors header: a little-endian uint64 length, then JSON of that length."""
    size = int.from_bytes(body[:8], "little")
    metadata: dict[str, str] = json.loads(body[8 : 8 + size]).get("__metadata__", {})
    return metadata


def rows_of(job: Job, answer: EmbeddingResponse, *, square: bool) -> NDArray[np.float32]:
    """Embeddings of a finished job, one row per record; NaN for records without a result.

    Args:
        job: with its records.
        answer: its embeddings.
        square: in their own shape instead of flat.
    """
    embeddings = decode_embeddings(answer.data)
    rows = np.full((len(job.records), *embeddings.shape[1:]), np.nan, np.float32)
    rows[[item.index for item in answer.data]] = embeddings
    return rows if square else rows.reshape(len(rows), -1)
