"""Codecs: conversion of a packed second moment to the bytes of one chunk; one codec per module.

A codec is a property of a namespace. Its id is part of the digest of the namespace, so it never changes for
stored rows. `codec_of` gives the codec of an id, `codec_id` the id of a codec that a user names.
"""

import re
from functools import lru_cache

from covpool.store.codecs.bounded import Bounded
from covpool.store.codecs.chunk import ChunkCodec, Encoded
from covpool.store.codecs.cold import Cold
from covpool.store.codecs.lossless import Lossless

__all__ = ["ChunkCodec", "Encoded", "codec_id", "codec_of"]

#: Codecs by the names that users give; namespaces have the ids.
_BY_NAME: dict[str, ChunkCodec] = {"lossless": Lossless(), "cold": Cold()}
_BY_ID = {codec.id: codec for codec in _BY_NAME.values()}
_BOUNDED = "bounded:"


def codec_id(choice: str) -> str:
    """The id of a codec that a user names.

    Args:
        choice: "lossless" (fast, any Zarr reader), "cold" (exact, mostly smaller, slower to write), or
            "bounded:1e-4" (lossy; any relative Frobenius error between 0 and 1).

    Raises:
        ValueError: there is no such codec.
    """
    if choice.startswith(_BOUNDED):
        return Bounded(_number(choice.removeprefix(_BOUNDED))).id
    if choice not in _BY_NAME:
        raise ValueError(f"codec {choice!r} is unknown; choose {', '.join(_BY_NAME)} or {_BOUNDED}1e-4")
    return _BY_NAME[choice].id


@lru_cache(maxsize=64)
def codec_of(identifier: str) -> ChunkCodec:
    """The codec of a namespace.

    Raises:
        ValueError: this version of covpool has no codec with that id.
    """
    if match := re.fullmatch(r"rfp\+bounded:([^+]+)\+crc32c", identifier):
        return Bounded(_number(match[1]))
    if identifier not in _BY_ID:
        raise ValueError(f"codec {identifier!r} is unknown to this covpool; upgrade covpool to read it")
    return _BY_ID[identifier]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an error bound; write it as {_BOUNDED}1e-4") from error
