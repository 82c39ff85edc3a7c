"""Sums of a sequence that is not finished, so that whoever goes on with it need not start again.

Restoring gives back every bit, including the rows that wait for their product to be full; so a computation
that was interrupted and resumed ends in the same bits as one that was not. A file is safetensors followed by
the CRC-32 of it.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from covpool.store.errors import CorruptEntryError, FormatVersionError
from covpool.store.values.packing import packed_width

VERSION = 1

_ARRAYS = ("sums", "products", "staged")
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class PartialSums:
    """State of a running second moment.

    Attributes:
        position: where to go on, in whatever unit the computation counts; the store does not look at it.
        count: rows seen so far, staged ones included.
        sums: (d,) column sums of the rows that are in `products`.
        products: packed upper triangle of their XᵀX (`covpool.store.values.packing`), of the same dtype.
        staged: (n, d) rows that are in neither yet.
        staged_dtype: what the rows were; bfloat16 rows are held here as float32, which is exact.
    """

    position: int
    count: int
    sums: NDArray[Any]
    products: NDArray[Any]
    staged: NDArray[Any]
    staged_dtype: str

    def __post_init__(self) -> None:
        width = packed_width(self.products.shape)
        if self.sums.shape != (width,) or self.staged.ndim != 2 or self.staged.shape[1] != width:
            raise ValueError(
                f"partial sums: sums {self.sums.shape} and staged rows {self.staged.shape} do not fit "
                f"width {width}"
            )

    def to_bytes(self, key: str) -> bytes:
        """The file of `key`."""
        header = {
            "covpool_partial": str(VERSION),
            "key": key,
            "position": str(self.position),
            "count": str(self.count),
            "staged_dtype": self.staged_dtype,
        }
        data = save({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, header)
        return data + _CHECKSUM.pack(zlib.crc32(data))

    @classmethod
    def from_bytes(cls, content: bytes, key: str) -> Self:
        """What `to_bytes` wrote.

        Raises:
            CorruptEntryError: a byte differs, or the file is another key's.
            FormatVersionError: another version of covpool wrote it.
        """
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
        arrays = load(data)
        return cls(
            position=int(header["position"]),
            count=int(header["count"]),
            staged_dtype=header["staged_dtype"],
            **{name: arrays[name] for name in _ARRAYS},
        )
