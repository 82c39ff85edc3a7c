"""Codecs: how a packed second moment becomes the bytes of one chunk; one codec per module.

A codec is a property of a namespace. Its id is part of the namespace's digest, so it never changes under
stored rows; `codec_of` finds the codec of an id, `codec_id` the id of what a user asks for. Packages offer
their classes in the entry-point group `covpool.codecs`.
"""

from functools import lru_cache

from covpool.store.codecs.chunk import ChunkCodec, Encoded
from covpool.store.registry import Registry

__all__ = ["ChunkCodec", "Encoded", "codec_id", "codec_of"]

#: By the name that users say.
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
        ValueError: no installed package knows one of that id.
    """
    for codec in CODECS.values():
        if (found := codec.of_id(identifier)) is not None:
            return found
    raise ValueError(
        f"codec {identifier!r} is unknown to this covpool; upgrade covpool, or install the package that "
        "brings it"
    )
