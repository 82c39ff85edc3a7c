"""Wire bytes to numpy."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from covpool.service.schemas import Embedding


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
    """The safetensors body of `/v1/moments/{key}`."""
    tensors = load(body)
    return FetchedMoments(key, int(tensors["count"][0]), tensors["mean"], tensors["second_moment"])


def decode_embeddings(data: list[Embedding]) -> NDArray[np.float32]:
    """(n, k, k) float32 from base64 or JSON numbers."""
    rows = [
        np.frombuffer(base64.b64decode(one.embedding), "<f4")
        if isinstance(one.embedding, str)
        else np.asarray(one.embedding, np.float32)
        for one in data
    ]
    return np.stack([row.reshape(one.shape) for row, one in zip(rows, data, strict=True)]).astype(np.float32)
