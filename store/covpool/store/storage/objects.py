"""Whole objects by path in a Zarr storage, without an event loop where the storage is a directory.

An object that cannot be read now raises `StorageError`; it is not regarded as missing.
Convention: an object is replaced in one step or not at all; a path is relative to the store's root. Whatever
changes an object raises `ReadOnlyError` where the storage was opened for reading only.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStorage
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from covpool.store.errors import ReadOnlyError, StorageError
from covpool.store.storage.buckets import Bucket
from covpool.store.storage.whole_files import create_whole, fsync, write_streamed, write_whole

T = TypeVar("T")

#: Bytes of a copied object in memory at once.
PART_BYTES = 8 << 20


class Objects:
    """Read, replace and delete objects; on a directory these are plain file calls."""

    def __init__(self, storage: ZarrStorage) -> None:
        self.storage = storage
        self._root = Path(storage.root) if isinstance(storage, LocalStore) else None
        # Paths of rows are text: making `Path` objects takes as long as the call.
        self._prefix = f"{self._root}/"

    @property
    def is_local(self) -> bool:
        """Whether they are files of a directory."""
        return self._root is not None

    def read(self, path: str, part: RangeByteRequest | SuffixByteRequest | None = None) -> bytes | None:
        """The object's bytes, or a part of them, shorter where the object ends; None where there is none."""
        try:
            if self._root is not None and part is None:
                with open(self._prefix + path, "rb", buffering=0) as file:
                    return file.readall()
            buffer = sync(self.storage.get(path, default_buffer_prototype(), part))
        except FileNotFoundError:
            return None
        except StorageError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        return None if buffer is None else buffer.to_bytes()

    def write(self, path: str, *parts: bytes) -> None:
        """Replace the object by the parts, one after the other."""
        self._require_writable(path)
        if self._root is not None:
            _into_folder(write_whole, self._prefix + path, parts)
        else:
            buffer = default_buffer_prototype().buffer.from_bytes(b"".join(parts))
            sync(self.storage.set(path, buffer))

    def write_new(self, path: str, *parts: bytes) -> bool:
        """Write the object unless there is one; of several who do so at once one does.

        Returns:
            Whether the object holds these bytes now; False where another one was there and stays.
        """
        self._require_writable(path)
        if self._root is not None:
            return _into_folder(create_whole, self._prefix + path, parts)
        data = b"".join(parts)
        if isinstance(self.storage, Bucket):
            return self.storage.create(path, data)
        sync(self.storage.set_if_not_exists(path, default_buffer_prototype().buffer.from_bytes(data)))
        return self.read(path) == data

    def copy(self, path: str, target: "Objects") -> bool:
        """Have `target` hold the object under the same path, in one step and never all of it in memory.

        Returns:
            Whether there is such an object.
        """
        target._require_writable(path)
        try:
            with self._parts(path) as parts:
                if target._root is not None:
                    # The folder is made first: parts that were taken cannot be taken again.
                    (target._root / path).parent.mkdir(parents=True, exist_ok=True)
                    write_streamed(target._prefix + path, parts)
                elif isinstance(target.storage, Bucket):
                    target.storage.put_parts(path, parts)
                else:
                    target.write(path, *parts)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _parts(self, path: str) -> Iterator[Iterator[bytes]]:
        """The object's bytes, some at a time; `FileNotFoundError` where there is none, or none any more."""
        if self._root is None:
            size = sync(self.storage.getsize(path))
            yield (self._required(path, start) for start in range(0, size, PART_BYTES))
            return
        with open(self._prefix + path, "rb") as file:
            yield iter(partial(file.read, PART_BYTES), b"")

    def _required(self, path: str, start: int) -> bytes:
        part = self.read(path, RangeByteRequest(start, start + PART_BYTES))
        if part is None:
            raise FileNotFoundError(path)
        return part

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        if self._root is not None:
            return os.path.exists(self._prefix + path)
        return bool(sync(self.storage.exists(path)))

    def below(self, prefix: str) -> Iterator[str]:
        """Paths of all objects whose path begins with `prefix`/, in no order."""
        if self._root is not None:
            for folder, _, names in os.walk(self._root / prefix, onerror=_must_be_listed):
                inside = Path(folder).relative_to(self._root)
                yield from ((inside / name).as_posix() for name in names)
        else:
            yield from sync(_all(self.storage.list_prefix, f"{prefix}/"))

    def children(self, prefix: str) -> list[str]:
        """Names directly below `prefix`, sorted."""
        if self._root is not None:
            folder = self._root / prefix
            return sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
        return sorted(sync(_all(self.storage.list_dir, prefix)))

    def written(self, path: str) -> datetime | None:
        """When the object was written, UTC; None where the storage does not tell, or there is none."""
        if self._root is None:
            return None
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp((self._root / path).stat().st_mtime, UTC)
        return None

    def fsync(self, paths: Iterable[str], *, folders_exist: bool = False) -> None:
        """Flush objects to the disk; on a directory only, see `whole_files.fsync`."""
        if self._root is not None:
            fsync(self._root, paths, folders_exist=folders_exist)

    def delete_folder(self, path: str) -> None:
        """Delete a folder with its content; object storage has no folders."""
        self._require_writable(path)
        if self._root is not None:
            shutil.rmtree(self._root / path, ignore_errors=True)
        else:
            sync(self.storage.delete_dir(path))

    def delete(self, path: str) -> None:
        """Remove the object if it is there."""
        self._require_writable(path)
        if self._root is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._prefix + path)
        else:
            sync(self.storage.delete(path))

    def _require_writable(self, path: str) -> None:
        if self.storage.read_only:
            raise ReadOnlyError(f"{path}: the store is open for reading only; nothing was changed")


async def _all(paths: Callable[[str], AsyncIterator[str]], prefix: str) -> list[str]:
    # Called here: zarr's own listing of a bucket needs a running event loop.
    return [path async for path in paths(prefix)]


def _unreadable(path: str, error: OSError) -> StorageError:
    # Not to be read now (no more files, a server that is away, no permission) is not to be damaged: what is
    # damaged may be replaced, or swept.
    return StorageError(
        f"{path}: could not be read ({error.strerror or error}); check disk, permissions and limits, and try "
        "again (repeating is harmless). Where the disk itself is damaged, remove the file"
    )


def _must_be_listed(error: OSError) -> None:
    # A folder that was removed meanwhile holds nothing.
    if not isinstance(error, FileNotFoundError):
        raise _unreadable(str(error.filename), error) from error


def _into_folder(put: Callable[..., T], path: str, parts: tuple[bytes, ...]) -> T:
    """Put a file into its folder, which is made when it is missing: looking first would cost every row."""
    try:
        return put(path, *parts)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return put(path, *parts)
