"""A row of a namespace as the three chunks it is on disk; no input or output happens here.

Convention: every chunk ends in its own CRC-32C, and the record repeats those of the other two, so that chunks
which do not belong together are recognised.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from covpool.store.arrays.schema import MEAN, SECOND_MOMENT, Namespace, Record
from covpool.store.codecs import ChunkCodec, codec_of
from covpool.store.codecs.chunk import CHECKSUM_BYTES, checksum_of, seal, unseal
from covpool.store.codecs.lossless import Lossless
from covpool.store.errors import CorruptEntryError, InvalidMomentsError
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import FloatArray, Moments
from covpool.store.values.packing import pack, packed_shape, unpack

#: Codec of the mean, in every namespace.
MEAN_CODEC = Lossless()


@dataclass(frozen=True, slots=True)
class Row:
    """The chunks of one row, as stored.

    Attributes:
        record: whose the row is, see `Record`.
        mean: encoded mean.
        second_moment: encoded packed second moment.
    """

    record: bytes
    mean: bytes
    second_moment: bytes


def encode_row(namespace: Namespace, key: MomentsKey, moments: Moments) -> tuple[Row, Record]:
    """Chunks and record of moments.

    Raises:
        InvalidMomentsError: the matrix is too wide for its codec.
    """
    codec = codec_of(namespace.codec)
    try:
        data, error = codec.encode(pack(moments.second_moment), moments.count)
    except ValueError as refused:
        raise InvalidMomentsError(
            f"{key}: {moments.width} x {moments.dtype} cannot be encoded as {namespace.codec} ({refused})"
        ) from refused
    second_moment = data + seal(data)
    mean = MEAN_CODEC.encode(moments.mean, moments.count).data
    mean += seal(mean)
    record = Record(
        key=key.digest,
        sequence=key.sequence,
        count=moments.count,
        length=key.length,
        error=error,
        mean_checksum=checksum_of(mean),
        second_moment_checksum=checksum_of(second_moment),
    )
    packed_record = record.to_bytes()
    return Row(packed_record + seal(packed_record), mean, second_moment), record


def check_row(row: Row) -> Record:
    """The record of a row whose chunks are whole and belong together; nothing is decoded.

    Raises:
        CorruptEntryError: a chunk is damaged, or of another row.
    """
    record = _record(row.record)
    check_chunk(MEAN, row.mean, record.mean_checksum)
    check_chunk(SECOND_MOMENT, row.second_moment, record.second_moment_checksum)
    return record


def _record(chunk: bytes) -> Record:
    try:
        return Record.from_bytes(unseal(chunk))
    except ValueError as error:
        raise CorruptEntryError(f"record is damaged ({error})") from error


def decode_record(chunk: bytes | None, key: str) -> Record:
    """The record of a row that is that of `key`.

    Raises:
        CorruptEntryError: the chunk is missing, damaged, or another key's.
    """
    if chunk is None:
        raise CorruptEntryError("record is missing")
    record = _record(chunk)
    if record.key != key:
        raise CorruptEntryError(f"holds another key ({record.key})")
    return record


def decode_row(
    namespace: Namespace, record: Record, mean: bytes | None, second_moment: bytes | None
) -> Moments:
    """The moments whose chunks these are.

    Raises:
        CorruptEntryError: a chunk is missing, damaged, or of another row.
    """
    d, dtype = namespace.width, np.dtype(namespace.dtype)
    whole = check_chunk(SECOND_MOMENT, second_moment, record.second_moment_checksum)
    packed = _decoded(SECOND_MOMENT, codec_of(namespace.codec), whole, packed_shape(d), dtype)
    whole = check_chunk(MEAN, mean, record.mean_checksum)
    return Moments(record.count, _decoded(MEAN, MEAN_CODEC, whole, (d,), dtype), unpack(packed, d))


def check_chunk(name: str, chunk: bytes | None, checksum: int) -> bytes:
    """A chunk, still encoded, that is whole and the record's.

    Raises:
        CorruptEntryError: it is missing, damaged, or of another row.
    """
    if chunk is None:
        raise CorruptEntryError(f"{name} is missing")
    try:
        unseal(chunk)
    except ValueError as error:
        raise CorruptEntryError(f"{name} is damaged ({error})") from error
    if checksum_of(chunk) != checksum:
        raise CorruptEntryError(f"{name} does not belong to its record")
    return chunk


def _decoded(
    name: str, codec: ChunkCodec, chunk: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> FloatArray:
    data = np.frombuffer(chunk, np.uint8)[:-CHECKSUM_BYTES]
    try:
        matrix: FloatArray = codec.decode(data, shape, dtype)
    except (ValueError, RuntimeError, TypeError) as error:
        raise CorruptEntryError(f"{name} is damaged ({error})") from error
    return matrix
