"""Zarr arrays of one namespace: one chunk per matrix, written and read whole.

Convention: arrays have a fixed capacity and are never resized.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store as ZarrStorage
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import ContainsArrayError, ContainsGroupError, ZarrUserWarning

from covpool.store.arrays.rows import (
    MEAN_CODEC,
    Row,
    check_chunk,
    check_row,
    decode_record,
    decode_row,
    encode_row,
)
from covpool.store.arrays.schema import (
    ARRAYS,
    MEAN,
    PARTS,
    RECORD,
    RECORD_BYTES,
    SECOND_MOMENT,
    VERSION_TEXT,
    Namespace,
    Record,
    check_version,
    chunk_path,
    chunk_paths,
    generation_path,
)
from covpool.store.codecs import codec_of
from covpool.store.errors import CorruptEntryError, OutdatedCatalogError, StorageError
from covpool.store.storage.objects import Objects
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments
from covpool.store.values.packing import packed_shape

_FORMAT = "covpool_format"

#: What zarr raises where a `zarr.json` is no JSON, or not what it should be; its own errors are of these.
DAMAGED_METADATA = (ValueError, TypeError, AttributeError, KeyError)


class RowArrays(ABC):
    """The arrays `second_moment`, `mean` and `record`, to be read one row at a time.

    zarr makes the arrays and their metadata; rows are read and written as whole chunks, in the same bytes as
    by zarr, because a missing chunk must be an error here and not a fill value.

    Attributes:
        namespace: what the rows have in common; its codec is the one they are encoded in.
        path: the group the arrays lie in.
    """

    namespace: Namespace
    path: str

    @abstractmethod
    def chunk(self, array: str, row: int) -> bytes | None:
        """One encoded chunk of one row; None if there is none."""

    def row(self, row: int) -> Row | None:
        """The chunks of one row; None if one of them is missing."""
        record, mean, second_moment = (self.chunk(array, row) for array in (RECORD, MEAN, SECOND_MOMENT))
        if record is None or mean is None or second_moment is None:
            return None
        return Row(record, mean, second_moment)

    def whole(self, row: int) -> Record | None:
        """The record of a row if all of its checksums match; None if it cannot be read.

        Raises:
            StorageError: the storage cannot be reached, so that the state of the row is unknown.
        """
        try:
            chunks = self.row(row)
            return None if chunks is None else check_row(chunks)
        except CorruptEntryError:
            return None

    def read(self, row: int, key: str) -> Moments:
        """The moments of one row.

        Raises:
            CorruptEntryError: a chunk is missing, fails its checksum, or belongs to another key.
        """
        with self._naming(row, key):
            record = decode_record(self.chunk(RECORD, row), key)
            mean, second_moment = self.chunk(MEAN, row), self.chunk(SECOND_MOMENT, row)
            return decode_row(self.namespace, record, mean, second_moment)

    def read_chunk(self, row: int, key: str) -> bytes:
        """The encoded chunk of a row's second moment.

        Raises:
            CorruptEntryError: the chunk is missing, fails its checksum, or belongs to another key.
        """
        with self._naming(row, key):
            record = decode_record(self.chunk(RECORD, row), key)
            chunk = self.chunk(SECOND_MOMENT, row)
            return check_chunk(SECOND_MOMENT, chunk, record.second_moment_checksum)

    def encoded_as(self, codec: str, row: int, key: str) -> Row:
        """The chunks of one row, with its second moment in another codec.

        Raises:
            CorruptEntryError: as `read`.
        """
        moments, record = self.read(row, key), decode_record(self.chunk(RECORD, row), key)
        identity = MomentsKey(record.sequence, record.length, self.namespace.recipe)
        return encode_row(replace(self.namespace, codec=codec), identity, moments)[0]

    @contextmanager
    def _naming(self, row: int, key: str) -> Iterator[None]:
        try:
            yield
        except CorruptEntryError as error:
            raise CorruptEntryError(
                f"{key}: row {row} of {self.path}: {error}; compute it again (covpool extract --again)"
            ) from error


class NamespaceArrays(RowArrays):
    """The arrays of one namespace that writers fill: one object per chunk, one chunk per row."""

    def __init__(self, storage: ZarrStorage, namespace: Namespace) -> None:
        self.namespace = namespace
        self.path = generation_path(namespace, 0)
        self._synced = False
        self._objects = Objects(storage)
        attributes = {name: getattr(namespace, name) for name in ("width", "dtype", "codec")}
        _open_group(storage, self.path, {"recipe": namespace.recipe.to_json(), **attributes})
        with warnings.catch_warnings():
            # zarr warns at every array that pcodec is no core codec; FORMAT.md says so.
            warnings.simplefilter("ignore", ZarrUserWarning)
            _open_arrays(storage, self.path, namespace)

    def write(self, row: int, key: MomentsKey, moments: Moments) -> Record:
        """Write one row, whose chunks must not exist yet: a row is handed out once.

        Raises:
            StorageError: the storage refused (disk full, no permission); no row became readable.
            OutdatedCatalogError: the row holds other chunks, which stay.
        """
        chunks, record = encode_row(self.namespace, key, moments)
        try:
            for array in PARTS:
                path = chunk_path(self.path, array, row)
                if not self._objects.write_new(path, getattr(chunks, array)):
                    raise OutdatedCatalogError(
                        f"{key}: {path} was there before the catalog handed that row out: it is older than "
                        "the arrays (a restored backup?); nothing was cached or replaced, run covpool store "
                        "rebuild"
                    )
        except OSError as error:
            raise StorageError(
                f"{key}: could not be written under {self.path} ({error}); nothing was cached, "
                "make room or fix the permissions and put it again"
            ) from error
        return record

    def fsync(self, row: int) -> None:
        """Flush a written row to the disk, and with the first row the metadata of the arrays."""
        try:
            if not self._synced:
                folders = (ARRAYS, self.path, *(f"{self.path}/{array}" for array in PARTS))
                self._objects.fsync([f"{folder}/zarr.json" for folder in folders])
                self._synced = True
            self._objects.fsync(chunk_paths(self.path, row), folders_exist=True)
        except OSError as error:
            raise StorageError(
                f"row {row} of {self.path}: could not be flushed to the disk ({error}); nothing was cached"
            ) from error

    def chunk(self, array: str, row: int) -> bytes | None:
        """One chunk of one row, as stored."""
        return self._objects.read(chunk_path(self.path, array, row))


def open_root(storage: ZarrStorage, where: str) -> None:
    """Open or create the group all namespaces lie in, and check its format version.

    Raises:
        FormatVersionError: the arrays are of another major version.
    """
    group = _open_group(storage, ARRAYS, {_FORMAT: VERSION_TEXT})
    check_version(str(group.attrs[_FORMAT]), where)


# Two processes may create the same node at once: both write the same bytes, so the second just opens it.


def _open_group(storage: ZarrStorage, path: str, attributes: dict[str, Any]) -> zarr.Group:
    with suppress(FileNotFoundError):
        return zarr.open_group(storage, path=path, mode="r")
    _require_writable(storage, path)
    with suppress(ContainsGroupError, ContainsArrayError):
        zarr.create_group(storage, path=path, attributes=attributes)
    return zarr.open_group(storage, path=path, mode="r")


def _require_writable(storage: ZarrStorage, path: str) -> None:
    if storage.read_only:
        raise FileNotFoundError(f"{path}/zarr.json: is missing, and the store is open for reading only")


def array_arguments(namespace: Namespace, codec: str, rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each array, and zarr's arguments for `rows` rows with a codec for second moments."""
    d, dtype = namespace.width, namespace.dtype
    item = np.dtype(dtype).itemsize
    plain = {"serializer": BytesCodec(), "compressors": [Crc32cCodec()]}
    for name, shape, of, codecs in (
        (SECOND_MOMENT, packed_shape(d), dtype, codec_of(codec).zarr_arguments(item)),
        (MEAN, (d,), dtype, MEAN_CODEC.zarr_arguments(item)),
        (RECORD, (RECORD_BYTES,), "uint8", plain),
    ):
        yield (
            name,
            {
                "shape": (rows, *shape),
                "chunks": (1, *shape),
                "dtype": of,
                "fill_value": 0 if of == "uint8" else np.nan,
                "chunk_key_encoding": {"name": "default", "separator": "."},
                **codecs,
            },
        )


def _open_arrays(storage: ZarrStorage, path: str, namespace: Namespace) -> None:
    for name, arguments in array_arguments(namespace, namespace.codec, namespace.capacity):
        with suppress(FileNotFoundError):
            zarr.open_array(storage, path=f"{path}/{name}", mode="r")
            continue
        _require_writable(storage, f"{path}/{name}")
        with suppress(ContainsArrayError):
            zarr.create_array(
                storage, name=f"{path}/{name}", config={"write_empty_chunks": True}, **arguments
            )
