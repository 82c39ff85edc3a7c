"""The arrays of a compacted copy: many rows in one object, written once and then only read.

Convention: a shard is a Zarr v3 `sharding_indexed` chunk with its index at the end: the encoded rows, then
one (offset, size) pair of uint64 per row, little-endian, then the CRC-32C of those pairs. A row's bytes are
those of the array it came from, unless the copy has a codec of its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from json import JSONDecodeError
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStorage
from zarr.errors import ContainsArrayError, ContainsGroupError

from covpool.store.arrays.rows import Row
from covpool.store.arrays.schema import PARTS, Namespace, chunk_path, chunk_paths, generation_path
from covpool.store.arrays.zarr_arrays import RowArrays, array_arguments
from covpool.store.codecs.chunk import CHECKSUM_BYTES, seal, unseal
from covpool.store.errors import CorruptEntryError
from covpool.store.storage.objects import Objects

#: Offset and size of a row that a shard does not hold.
_ABSENT = np.uint64(2**64 - 1)
_PAIR_BYTES = 16

CODEC, SHARD_ROWS, SEALED, USED = "codec", "rows_per_shard", "sealed", "used"
#: Rows handed out when the copy was planned: later ones are newer than it.
NEXT_ROW = "next_row"


class CompactedArrays(RowArrays):
    """Generation 1 and up of a namespace's arrays, see `covpool.store.maintenance.compact`.

    Attributes:
        shard_rows: rows in one object.

    Raises:
        FileNotFoundError: there is no such copy.
    """

    def __init__(self, storage: ZarrStorage, namespace: Namespace, generation: int) -> None:
        self.path = generation_path(namespace, generation)
        attributes = zarr.open_group(storage, path=self.path, mode="r").attrs
        self._written_as = namespace.codec
        self.namespace = replace(namespace, codec=str(attributes[CODEC]))
        self.shard_rows = int(str(attributes[SHARD_ROWS]))
        self._objects = Objects(storage)

    def chunk(self, array: str, row: int) -> bytes | None:
        """One row's part of its shard."""
        path = chunk_path(self.path, array, row // self.shard_rows)
        end = SuffixByteRequest(self.shard_rows * _PAIR_BYTES + CHECKSUM_BYTES)
        index = self._objects.read(path, end)
        if index is None:
            return None
        try:
            pairs = unseal(index).view("<u8").reshape(self.shard_rows, 2)
        except ValueError as error:
            raise CorruptEntryError(f"{path}: the index of the shard is damaged ({error})") from error
        offset, size = pairs[row % self.shard_rows]
        if size == _ABSENT:
            return None
        return self._objects.read(path, RangeByteRequest(int(offset), int(offset + size)))

    def read_chunk(self, row: int, key: str) -> bytes:
        """The chunk of a row's second moment in the codec of its namespace, whatever that of the copy is."""
        if self.namespace.codec == self._written_as:
            return super().read_chunk(row, key)
        return self.encoded_as(self._written_as, row, key).second_moment

    def has_shard(self, index: int) -> bool:
        """Whether a shard was written, for every array."""
        end = SuffixByteRequest(CHECKSUM_BYTES)
        return all(self._objects.read(path, end) is not None for path in chunk_paths(self.path, index))

    def delete_shard(self, index: int) -> None:
        """Remove a shard of every array."""
        for path in chunk_paths(self.path, index):
            self._objects.delete(path)

    def write_shard(self, index: int, rows: Sequence[Row | None]) -> list[str]:
        """Write the rows from `index` times the rows of a shard on; returns the objects, one per array.

        An object that is there already stays: an object that was read back is never overwritten.
        """
        paths = chunk_paths(self.path, index)
        for array, path in zip(PARTS, paths, strict=True):
            chunks: list[bytes | None] = [None if row is None else getattr(row, array) for row in rows]
            present = (chunk for chunk in chunks if chunk is not None)
            self._objects.write_new(path, *present, shard_index(chunks, self.shard_rows))
        return paths


def shard_index(chunks: Sequence[bytes | None], shard_rows: int) -> bytes:
    """The index that follows the chunks of a shard."""
    pairs, offset = np.full((shard_rows, 2), _ABSENT, "<u8"), 0
    for position, chunk in enumerate(chunks):
        if chunk is not None:
            pairs[position] = offset, len(chunk)
            offset += len(chunk)
    index = pairs.tobytes()
    return index + seal(index)


def create_compacted(
    storage: ZarrStorage, namespace: Namespace, generation: int, attributes: dict[str, Any], rows: int
) -> None:
    """Make the arrays of a copy of `rows` rows, except those that exist.

    Args:
        storage: of the store.
        namespace: of the rows.
        generation: its number, from 1.
        attributes: of the group; among them the codec of the rows and how many lie in one shard.
        rows: number of rows.
    """
    path = generation_path(namespace, generation)
    codec, shard_rows = str(attributes[CODEC]), int(attributes[SHARD_ROWS])
    with suppress(ContainsGroupError):
        zarr.create_group(storage, path=path, attributes={**attributes, SEALED: False, USED: False})
    for name, arguments in array_arguments(namespace, codec, rows):
        shards = (shard_rows, *arguments["shape"][1:])
        with suppress(ContainsArrayError):
            zarr.create_array(storage, name=f"{path}/{name}", shards=shards, **arguments)


def mark_copy(storage: ZarrStorage, path: str, mark: str) -> None:
    """Mark a copy as `SEALED` (complete, every row was read back) or `USED` (the catalog refers to it)."""
    zarr.open_group(storage, path=path, mode="r+").attrs[mark] = True


def is_marked(storage: ZarrStorage, path: str, mark: str) -> bool:
    """Whether a copy has a mark.

    Raises:
        CorruptEntryError: its description is damaged; the copy must not be deleted.
    """
    try:
        return bool(zarr.open_group(storage, path=path, mode="r").attrs.get(mark))
    except FileNotFoundError:
        return False
    except (JSONDecodeError, KeyError) as error:
        raise CorruptEntryError(
            f"{path}/zarr.json: is damaged ({error}); covpool store verify --repair writes it anew where the "
            "catalog knows the copy, else restore it from a backup"
        ) from error
