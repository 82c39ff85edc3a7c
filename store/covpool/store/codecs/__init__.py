"""Codecs: conversion of a packed second moment to the bytes of one chunk; one codec per module.

A codec is a property of a namespace. Its id is part of the digest of the namespace, so it never changes for
stored rows. `codec_of` gives the codec of an id, `codec_id` the id of a codec that a user names. Packages
offer their classes in the entry-point group `covpool.codecs`.
"""

from functools import lru_cache

from covpool.store.codecs.chunk import ChunkCodec, Encoded
from covpool.store.registry import Registry

__all__ = ["ChunkCodec", "Encoded", "codec_id", "codec_of"]

#: Codec classes by the names that users give.
CODECS: Registry[type[ChunkCodec]] = Registry("covpool.codecs", type, ValueError)


def codec_id(choice: str) -> str:
    """The id of a codec that a user names.

    Args:
        choice: "lossless" (fast, any Zarr reader), "cold" (exact, mostly smaller, slower to write),
            "bounded:1e-4" (lossy; any relative Frobenius error between 0 and 1), or one of another package.

    Raises:
        ValueError: there is no such codec.
    """
    name, _, argument = choice.partition(":")
    if name not in CODECS or bool(argument) != (":" in CODECS[name].example):
        known = ", ".join(codec.example for codec in CODECS.values())
        raise ValueError(f"codec {choice!r} is unknown; choose {known}")
    return CODECS[name].of_choice(argument).id


@lru_cache(maxsize=64)
def codec_of(identifier: str) -> ChunkCodec:
    """The codec of a namespace.

    Raises:
        ValueError: no installed package has a codec with that id.
    """
    for kind in CODECS.values():
        if (codec := kind.of_id(identifier)) is not None:
            return codec
    raise ValueError(
        f"codec {identifier!r} is unknown to this covpool; upgrade covpool, or install the package that "
        "brings it"
    )
