"""Lossy with a bound: the relative Frobenius error ‖C' - C‖_F / ‖C‖_F of every matrix is at most the bound.

A chunk is a `Header` and the form that keeps the bound with the fewest bytes:

    correlation  N-bit correlations and the exact diagonal (the usual form)
    factor       F with C ≈ F Fᵀ, for matrices of few tokens
    exact        the packed matrix as one pcodec stream

N is predicted from the bound; then the bytes are decoded, the error is measured, and N grows until it is met.
Negative eigenvalues: a correlation or exact matrix has none below -error · ‖C‖_F (Weyl), which is at least
-bound · √d times the largest; a factor has none beyond float rounding.
"""

import asyncio
import re
import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.codecs import Crc32cCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.registry import register_codec

from covpool.store.codecs import correlation, factor
from covpool.store.codecs.chunk import Encoded
from covpool.store.codecs.cold import stream, unstream
from covpool.store.values.moments import FloatArray
from covpool.store.values.packing import packed_norm, packed_width

NAME = "covpool.bounded"

#: Matrices whose largest entry is outside are stored exactly: sums of their squares could exceed float64.
_RANGE = (1e-140, 1e140)
#: Share of the bound for the directions that a factor leaves out; the rest is for rounding.
_TRUNCATION = 0.5

_MAGIC, _VERSION = b"CPEB", 1
_LAYOUT = struct.Struct("<4sBBBBIIdd")
HEADER_BYTES = _LAYOUT.size


class Mode(IntEnum):
    """Form of the rest of the chunk."""

    EXACT = 0
    CORRELATION = 1
    FACTOR = 2


@dataclass(frozen=True, slots=True)
class Header:
    """The 32 bytes at the start of a chunk.

    Attributes:
        mode: form of the payload.
        itemsize: 4 or 8, bytes of the floats of the matrix.
        bits: N, bits of the integers, sign included; 0 if exact.
        width: number of features d.
        rank: columns of the factor; 0 in the other forms.
        bound: requested relative Frobenius error.
        error: measured relative Frobenius error of the decoded payload, at most `bound`.
    """

    mode: Mode
    itemsize: int
    bits: int
    width: int
    rank: int
    bound: float
    error: float

    def to_bytes(self) -> bytes:
        """`CPEB`; version, mode, itemsize, bits (uint8); width, rank (uint32); bound, error (float64)."""
        return _LAYOUT.pack(_MAGIC, _VERSION, *astuple(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The header that `data` starts with; anything else raises `ValueError`."""
        if len(data) < HEADER_BYTES:
            raise ValueError(f"{len(data)} bytes hold no header")
        magic, version, mode, *numbers = _LAYOUT.unpack_from(data)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"unknown form {magic!r}, version {version}; upgrade covpool to read it")
        return cls(Mode(mode), *numbers)


@dataclass(frozen=True)
class Bounded:
    """Zarr's `covpool.bounded` (the codec below), `crc32c`.

    Attributes:
        bound: largest relative Frobenius error, above 0 and below 1.
    """

    bound: float

    example: ClassVar[str] = "bounded:1e-4"

    @classmethod
    def of_choice(cls, argument: str) -> Self:
        """The codec with a bound as text."""
        try:
            return cls(float(argument))
        except ValueError as error:
            raise ValueError(f"bounded:{argument}: {error}; write a bound as {cls.example}") from error

    @classmethod
    def of_id(cls, identifier: str) -> Self | None:
        """The codec of an id, which contains the bound; None if the id is of another codec."""
        match = re.fullmatch(r"rfp\+bounded:([^+]+)\+crc32c", identifier)
        return cls.of_choice(match[1]) if match else None

    def __post_init__(self) -> None:
        if not 0 < self.bound < 1:
            raise ValueError(f"an error bound lies between 0 and 1, not at {self.bound}; exact is lossless")

    @property
    def id(self) -> str:
        """Contains the bound, so that each bound has separate namespaces."""
        return f"rfp+bounded:{self.bound!r}+crc32c"

    def zarr_arguments(self, itemsize: int) -> dict[str, Any]:
        """Codec chain of the array."""
        return {"serializer": BoundedCodec(bound=self.bound), "compressors": [Crc32cCodec()]}

    def encode(self, packed: FloatArray, count: int) -> Encoded:
        """The smallest form that keeps the bound; a factor is tried for fewer than d / 2 tokens."""
        forms: list[Encoded | None] = []
        if _RANGE[0] <= float(max(packed.max(), -packed.min())) <= _RANGE[1]:
            norm = packed_norm(packed)
            forms = [self._by_correlation(packed, norm), self._by_factor(packed, norm, count)]
        encoded = min((form for form in forms if form), key=lambda form: len(form.data), default=None)
        # Exact floats take more than half their own size, unless the matrix is special.
        if encoded is None or 2 * len(encoded.data) > packed.nbytes:
            exact = self._form(packed, Mode.EXACT, 0, 0, 0.0, stream(packed))
            encoded = exact if encoded is None else min(encoded, exact, key=lambda form: len(form.data))
        return encoded

    def decode(self, data: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The packed matrix of a chunk."""
        content = data.tobytes()
        header = Header.from_bytes(content)
        expected = (packed_width(shape), dtype.itemsize)
        if (header.width, header.itemsize) != expected:
            raise ValueError(f"holds width {header.width}, itemsize {header.itemsize}; expected {expected}")
        payload = content[HEADER_BYTES:]
        if header.mode == Mode.CORRELATION:
            return correlation.decode(payload, header.width, header.bits, dtype)
        if header.mode == Mode.FACTOR:
            return factor.decode(payload, header.width, header.rank, header.bits, dtype)
        return unstream(payload, shape, dtype)

    def _by_correlation(self, packed: FloatArray, norm: float) -> Encoded | None:
        def at(bits: int) -> Encoded | None:
            payload = correlation.encode(packed, bits)
            return self._measured(packed, norm, Mode.CORRELATION, bits, 0, payload) if payload else None

        return _first(
            at, correlation.bits_for(packed, norm, self.bound), correlation.MAX_BITS[packed.itemsize]
        )

    def _by_factor(self, packed: FloatArray, norm: float, count: int) -> Encoded | None:
        width = packed_width(packed.shape)
        if 2 * count >= width:
            return None
        root = factor.factorise(packed, width, _TRUNCATION * self.bound * norm, limit=count + 1)
        if root is None:
            return None

        def at(bits: int) -> Encoded | None:
            payload = factor.encode(root, bits)
            return self._measured(packed, norm, Mode.FACTOR, bits, root.shape[1], payload)

        return _first(at, factor.bits_for(root, norm, self.bound), factor.MAX_BITS)

    def _measured(
        self, packed: FloatArray, norm: float, mode: Mode, bits: int, rank: int, payload: bytes
    ) -> Encoded | None:
        """The form, if its decoded matrix keeps the bound; else None."""
        form = self._form(packed, mode, bits, rank, 0.0, payload)
        decoded = self.decode(np.frombuffer(form.data, np.uint8), packed.shape, packed.dtype)
        error = packed_norm(decoded, packed) / norm
        return self._form(packed, mode, bits, rank, error, payload) if error <= self.bound else None

    def _form(
        self, packed: FloatArray, mode: Mode, bits: int, rank: int, error: float, payload: bytes
    ) -> Encoded:
        header = Header(mode, packed.itemsize, bits, packed_width(packed.shape), rank, self.bound, error)
        return Encoded(header.to_bytes() + payload, error)


def _first(at: Callable[[int], Encoded | None], predicted: int, most: int) -> Encoded | None:
    return next((form for bits in range(predicted, most + 1) if (form := at(bits))), None)


@dataclass(frozen=True)
class BoundedCodec(ArrayBytesCodec):
    """`Bounded` as a Zarr v3 codec: chunks are (…, 2p + 1, d - p) with one matrix each.

    zarr does not pass the number of tokens of a matrix to a codec, so writing through zarr makes no factor.
    """

    bound: float
    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """From `{"name": "covpool.bounded", "configuration": {"bound": …}}`."""
        configuration: Any = data["configuration"]
        return cls(bound=float(configuration["bound"]))

    def to_dict(self) -> dict[str, JSON]:
        """The mapping that `from_dict` reads."""
        return {"name": NAME, "configuration": {"bound": self.bound}}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before encoding."""
        raise NotImplementedError(f"{NAME} has no fixed size")

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        dtype = chunk_spec.dtype.to_native_dtype()
        data = np.frombuffer(chunk_bytes.to_bytes(), np.uint8)
        packed = Bounded(self.bound).decode(data, chunk_spec.shape[-2:], dtype)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(packed.reshape(chunk_spec.shape))  # type: ignore[arg-type]

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        packed: Any = chunk_array.as_numpy_array()
        encoded = Bounded(self.bound).encode(packed.reshape(packed.shape[-2:]), count=packed.size)
        return chunk_spec.prototype.buffer.from_bytes(encoded.data)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        return await asyncio.to_thread(self._encode_sync, chunk_array, chunk_spec)


register_codec(NAME, BoundedCodec)
