"""Partials: what is known of a sequence that is not finished, so that whoever goes on need not start again.

Sums: restoring gives back every bit, including the rows that wait for their product to be full; so a
computation that was interrupted and resumed ends in the same bits as one that was not. Tokens: what one step
of a divided forward leaves for the next. A file is safetensors followed by the CRC-32 of it.
"""

import json
import re
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from covpool.store.errors import CorruptEntryError, FormatVersionError, StoreError
from covpool.store.keys import MomentsKey, is_digest
from covpool.store.objects import Objects
from covpool.store.packing import packed_width

FOLDER = "partials"
VERSION = 1

_ARRAYS = ("sums", "products", "staged")
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_TOKENS_NAME = re.compile(r"[a-z]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True, eq=False)
class PartialSums:
    """State of a running second moment.

    Attributes:
        position: where to go on, in whatever unit the computation counts; the store does not look at it.
        count: rows seen so far, staged ones included.
        sums: (d,) column sums of the rows that are in `products`.
        products: packed upper triangle of their XᵀX (`covpool.store.packing`), of the same dtype.
        staged: (n, d) rows that are in neither yet.
        staged_dtype: what the rows were; bfloat16 rows are held here as float32, which is exact.
        start: where these sums begin, in the unit of `position`.
    """

    position: int
    count: int
    sums: NDArray[Any]
    products: NDArray[Any]
    staged: NDArray[Any]
    staged_dtype: str
    start: int = 0

    def __post_init__(self) -> None:
        width = packed_width(self.products.shape)
        if self.sums.shape != (width,) or self.staged.ndim != 2 or self.staged.shape[1] != width:
            raise ValueError(
                f"partial sums: sums {self.sums.shape} and staged rows {self.staged.shape} do not fit "
                f"width {width}"
            )

    def to_bytes(self, key: str) -> bytes:
        """The file of `key`."""
        described = {
            "position": str(self.position),
            "count": str(self.count),
            "staged_dtype": self.staged_dtype,
            "start": str(self.start),
        }
        return _sealed(key, {name: getattr(self, name) for name in _ARRAYS}, described)

    @classmethod
    def from_bytes(cls, content: bytes, key: str) -> Self:
        """What `to_bytes` wrote.

        Raises:
            CorruptEntryError: a byte differs, or the file is another key's.
            FormatVersionError: another version of covpool wrote it.
        """
        arrays, header = _opened(content, key)
        return cls(
            position=int(header["position"]),
            count=int(header["count"]),
            staged_dtype=header["staged_dtype"],
            start=int(header.get("start", 0)),
            **{name: arrays[name] for name in _ARRAYS},
        )


class Partials:
    """What a store keeps of keys that are not ready; reached as `Store.partials`.

    Args:
        objects: the store's files.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, key: MomentsKey | str, partial: PartialSums) -> None:
        """Keep sums, in place of earlier ones of the same key and start.

        Those that start at 0 are dropped when the key becomes ready.

        Raises:
            StoreError: the storage refused; the earlier sums, if any, are still there.
        """
        self._write(_path(key, partial.start), partial.to_bytes(str(key)), key)

    def get(self, key: MomentsKey | str, start: int = 0) -> PartialSums | None:
        """The sums kept for a key from `start` on; None if there are none.

        Raises:
            CorruptEntryError: they do not read back intact.
            FormatVersionError: another version of covpool wrote them.
        """
        content = self._objects.read(_path(key, start))
        return None if content is None else PartialSums.from_bytes(content, str(key))

    def chain(self, key: MomentsKey | str) -> list[PartialSums]:
        """Sums that follow each other from 0 on; the chain ends before what is not there, or damaged."""
        found: list[PartialSums] = []
        end = 0
        with suppress(CorruptEntryError, FormatVersionError):
            while (one := self.get(key, end)) is not None and one.position > end:
                found.append(one)
                end = one.position
        return found

    def put_tokens(self, key: MomentsKey | str, name: str, tokens: NDArray[Any]) -> None:
        """Keep the (tokens, width) values that a step of a divided forward ends in.

        Raises:
            StoreError: the storage refused.
        """
        described = {"tokens": name}
        self._write(_path(key, name), _sealed(str(key), {"values": tokens}, described), key)

    def get_tokens(self, key: MomentsKey | str, name: str) -> NDArray[Any] | None:
        """What `put_tokens` kept; None if there is nothing.

        Raises:
            CorruptEntryError, FormatVersionError: as from `get`.
        """
        content = self._objects.read(_path(key, name))
        if content is None:
            return None
        arrays, header = _opened(content, str(key))
        if header.get("tokens") != name:
            raise CorruptEntryError(f"{key}: tokens {name} are others; drop them and start again")
        found: NDArray[Any] = arrays["values"]
        return found

    def drop(self, key: MomentsKey | str) -> None:
        """Forget the sums kept for a key from 0 on, if there are any."""
        self._objects.delete(_path(key, 0))

    def drop_all(self, key: MomentsKey | str) -> None:
        """Forget whatever is kept for a key."""
        for path in partial_paths(self._objects).get(str(key), []):
            self._objects.delete(path)

    def _write(self, path: str, content: bytes, key: MomentsKey | str) -> None:
        try:
            self._objects.write(path, content)
        except OSError as error:
            raise StoreError(
                f"{key}: what is known of it so far could not be written ({error}); make room or fix the "
                "permissions"
            ) from error


def partial_paths(objects: Objects) -> dict[str, list[str]]:
    """Paths of what is kept, by key."""
    found: dict[str, list[str]] = {}
    for path in objects.below(FOLDER):
        key = path.rpartition("/")[2].partition(".")[0]
        if is_digest(key):
            found.setdefault(key, []).append(path)
    return found


def _path(key: MomentsKey | str, which: int | str) -> str:
    # Part of a path: nothing but a digest may be one.
    if not is_digest(str(key)):
        raise ValueError(f"{key}: not a key; give a MomentsKey or its digest")
    if isinstance(which, str) and _TOKENS_NAME.fullmatch(which) is None:
        raise ValueError(f"{which!r}: tokens are named by a word and numbers, such as encoded.0.3")
    return f"{FOLDER}/{key}.{which}" if which else f"{FOLDER}/{key}"


def _sealed(key: str, arrays: Mapping[str, NDArray[Any]], described: Mapping[str, str]) -> bytes:
    header = {"covpool_partial": str(VERSION), "key": key} | dict(described)
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, header)
    return data + _CHECKSUM.pack(zlib.crc32(data))


def _opened(content: bytes, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and description of a file that is intact, and this key's."""
    data = content[: -_CHECKSUM.size]
    if len(content) < _CHECKSUM.size or content[len(data) :] != _CHECKSUM.pack(zlib.crc32(data)):
        raise CorruptEntryError(f"{key}: its partial sums are damaged; drop them and start again")
    # The checksum holds, so this is what some covpool wrote: a length, and JSON of that length.
    header = json.loads(data[_LENGTH.size :][: _LENGTH.unpack_from(data)[0]])["__metadata__"]
    if header["covpool_partial"] != str(VERSION):
        raise FormatVersionError(
            f"{key}: its partial sums are of version {header['covpool_partial']}, this covpool reads "
            f"{VERSION}; drop them and start again"
        )
    if header["key"] != key:
        raise CorruptEntryError(f"{key}: its partial sums are those of {header['key']}; drop them")
    return load(data), header
