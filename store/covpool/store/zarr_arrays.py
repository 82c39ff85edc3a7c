"""Zarr arrays of one namespace: one chunk per matrix, written and read whole.

Convention: arrays have a fixed capacity and are never resized; a row that was never written reads as NaN
(or zero bytes), which no stored row can hold.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store as ZarrStorage
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.errors import ContainsArrayError, ContainsGroupError

from covpool.store.errors import CorruptEntryError, StoreError
from covpool.store.moments import Moments
from covpool.store.packing import pack, packed_shape, unpack
from covpool.store.schema import (
    ARRAYS,
    MEAN,
    RECORD,
    RECORD_BYTES,
    SECOND_MOMENT,
    Namespace,
    Record,
    check_version,
    row_checksum,
    version_text,
)

_FORMAT = "covpool_format"


class NamespaceArrays:
    """The arrays `second_moment`, `mean` and `record` of one namespace."""

    def __init__(self, storage: ZarrStorage, namespace: Namespace) -> None:
        self.namespace = namespace
        self.path = f"{ARRAYS}/{namespace.id}"
        _open_group(storage, self.path, _attributes(namespace))
        n, d = namespace.capacity, namespace.width
        self._second_moment = _open_array(
            storage, f"{self.path}/{SECOND_MOMENT}", (n, *packed_shape(d)), namespace.dtype
        )
        self._mean = _open_array(storage, f"{self.path}/{MEAN}", (n, d), namespace.dtype)
        self._record = _open_array(storage, f"{self.path}/{RECORD}", (n, RECORD_BYTES), "uint8")

    def write(self, row: int, key: str, sequence: str, length: int, moments: Moments) -> None:
        """Write one row; each chunk replaces its predecessor atomically.

        Raises:
            StoreError: the storage refused (disk full, no permission); nothing became readable.
        """
        packed = pack(moments.second_moment)
        record = Record(key, sequence, moments.count, length, row_checksum(moments.mean, packed))
        try:
            self._mean[row] = moments.mean
            self._second_moment[row] = packed
            self._record[row] = np.frombuffer(record.to_bytes(), np.uint8)
        except OSError as error:
            raise StoreError(
                f"{key}: could not be written under {self.path} ({error}); nothing was cached, "
                "make room or fix the permissions and put it again"
            ) from error

    def read(self, row: int, key: str) -> Moments:
        """The moments of one row.

        Raises:
            CorruptEntryError: a chunk is missing, fails its checksum, or belongs to another key.
        """
        where = f"{key}: row {row} of {self.path}"
        remedy = "compute it again (covpool extract --again)"
        try:
            record: Any = self._record[row]
            mean: Any = self._mean[row]
            packed: Any = self._second_moment[row]
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptEntryError(f"{where} is damaged ({error}); {remedy}") from error
        found = Record.from_bytes(record.tobytes())
        if found.key != key:
            what = "is missing" if not record.any() else f"holds another key ({found.key})"
            raise CorruptEntryError(f"{where} {what}; {remedy}")
        if np.isnan(packed[0, 0]) or np.isnan(mean[0]):
            raise CorruptEntryError(f"{where} lacks a chunk; {remedy}")
        if found.checksum != row_checksum(mean, packed):
            raise CorruptEntryError(f"{where} has chunks that do not belong together; {remedy}")
        return Moments(found.count, mean, unpack(packed, self.namespace.width))


def open_root(storage: ZarrStorage, where: str) -> None:
    """Open or create the group all namespaces lie in, and check its format version.

    Raises:
        FormatVersionError: the arrays are of another major version.
    """
    group = _open_group(storage, ARRAYS, {_FORMAT: version_text()})
    check_version(str(group.attrs[_FORMAT]), where)


def _attributes(namespace: Namespace) -> dict[str, Any]:
    return {
        "recipe": namespace.recipe.to_json(),
        "width": namespace.width,
        "dtype": namespace.dtype,
        "codec": namespace.codec,
    }


# Two processes may create the same node at once: both write the same bytes, so the loser just opens.


def _open_group(storage: ZarrStorage, path: str, attributes: dict[str, Any]) -> zarr.Group:
    with suppress(FileNotFoundError):
        return zarr.open_group(storage, path=path, mode="r")
    with suppress(ContainsGroupError, ContainsArrayError):
        zarr.create_group(storage, path=path, attributes=attributes)
    return zarr.open_group(storage, path=path, mode="r")


def _open_array(storage: ZarrStorage, path: str, shape: tuple[int, ...], dtype: str) -> "zarr.Array[Any]":
    with suppress(FileNotFoundError):
        return zarr.open_array(storage, path=path, mode="r+")
    item = np.dtype(dtype).itemsize
    shuffled = BloscCodec(typesize=item, cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle)
    with suppress(ContainsArrayError):
        zarr.create_array(
            storage,
            name=path,
            shape=shape,
            chunks=(1, *shape[1:]),
            dtype=dtype,
            compressors=[shuffled, Crc32cCodec()] if item > 1 else [Crc32cCodec()],
            fill_value=np.nan if item > 1 else 0,
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
        )
    return zarr.open_array(storage, path=path, mode="r+")
