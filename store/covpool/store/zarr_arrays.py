"""Zarr arrays of one namespace: one chunk per matrix, written and read whole.

Convention: arrays have a fixed capacity and are never resized.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store as ZarrStorage
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError, ContainsGroupError

from covpool.store.codecs import codec_of
from covpool.store.errors import CorruptEntryError, StoreError
from covpool.store.keys import MomentsKey
from covpool.store.moments import Moments
from covpool.store.objects import Objects
from covpool.store.packing import packed_shape
from covpool.store.rows import MEAN_CODEC, check_chunk, decode_record, decode_row, encode_row
from covpool.store.schema import (
    ARRAYS,
    MEAN,
    RECORD,
    RECORD_BYTES,
    SECOND_MOMENT,
    Namespace,
    Record,
    check_version,
    version_text,
)

_FORMAT = "covpool_format"


class NamespaceArrays:
    """The arrays `second_moment`, `mean` and `record` of one namespace.

    zarr makes the arrays and describes them; rows are read and written as whole chunks, in the very bytes
    zarr would write, because a chunk that is missing must be an error here and not a fill value.
    """

    def __init__(self, storage: ZarrStorage, namespace: Namespace) -> None:
        self.namespace = namespace
        self.path = f"{ARRAYS}/{namespace.id}"
        self._objects = Objects(storage)
        _open_group(storage, self.path, _attributes(namespace))
        n, d, item = namespace.capacity, namespace.width, np.dtype(namespace.dtype).itemsize
        packed, dtype = codec_of(namespace.codec).zarr_arguments(item), namespace.dtype
        plain = {"compressors": [Crc32cCodec()]}
        _open_array(storage, f"{self.path}/{SECOND_MOMENT}", (n, *packed_shape(d)), dtype, packed)
        _open_array(storage, f"{self.path}/{MEAN}", (n, d), dtype, MEAN_CODEC.zarr_arguments(item))
        _open_array(storage, f"{self.path}/{RECORD}", (n, RECORD_BYTES), "uint8", plain)

    def write(self, row: int, key: MomentsKey, moments: Moments) -> Record:
        """Write one row; each chunk replaces its predecessor atomically.

        Raises:
            StoreError: the storage refused (disk full, no permission); nothing became readable.
        """
        chunks, record = encode_row(self.namespace, key, moments)
        try:
            self._objects.write(self._chunk(MEAN, row), chunks.mean)
            self._objects.write(self._chunk(SECOND_MOMENT, row), chunks.second_moment)
            self._objects.write(self._chunk(RECORD, row), chunks.record)
        except OSError as error:
            raise StoreError(
                f"{key}: could not be written under {self.path} ({error}); nothing was cached, "
                "make room or fix the permissions and put it again"
            ) from error
        return record

    def read(self, row: int, key: str) -> Moments:
        """The moments of one row.

        Raises:
            CorruptEntryError: a chunk is missing, fails its checksum, or belongs to another key.
        """
        try:
            record = decode_record(self._objects.read(self._chunk(RECORD, row)), key)
            mean = self._objects.read(self._chunk(MEAN, row))
            return decode_row(
                self.namespace, record, mean, self._objects.read(self._chunk(SECOND_MOMENT, row))
            )
        except (CorruptEntryError, OSError) as error:
            raise CorruptEntryError(
                f"{key}: row {row} of {self.path}: {error}; compute it again (covpool extract --again)"
            ) from error

    def read_chunk(self, row: int, key: str) -> bytes:
        """The chunk of a row's second moment, encoded as it is.

        Raises:
            CorruptEntryError: the chunk is missing, fails its checksum, or belongs to another key.
        """
        try:
            record = decode_record(self._objects.read(self._chunk(RECORD, row)), key)
            return check_chunk(record, self._objects.read(self._chunk(SECOND_MOMENT, row)))
        except (CorruptEntryError, OSError) as error:
            raise CorruptEntryError(
                f"{key}: row {row} of {self.path}: {error}; compute it again (covpool extract --again)"
            ) from error

    def _chunk(self, array: str, row: int) -> str:
        return f"{self.path}/{array}/c.{row}.0" + (".0" if array == SECOND_MOMENT else "")


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


def _open_array(
    storage: ZarrStorage, path: str, shape: tuple[int, ...], dtype: str, codecs: dict[str, Any]
) -> None:
    with suppress(FileNotFoundError):
        zarr.open_array(storage, path=path, mode="r")
        return
    with suppress(ContainsArrayError):
        zarr.create_array(
            storage,
            name=path,
            shape=shape,
            chunks=(1, *shape[1:]),
            dtype=dtype,
            fill_value=0 if dtype == "uint8" else np.nan,
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
            **codecs,
        )
