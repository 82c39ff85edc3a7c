"""Stored files: bytes of the Zarr hierarchy as stored, for remote readers.

Only paths of the format exist here: digests, array names and chunk numbers. The metadata of a group also have
those of its members (see `consolidated`).
"""

import re

from zarr.abc.store import RangeByteRequest
from zarr.abc.store import Store as ZarrStorage
from zarr.core.buffer import default_buffer_prototype

from covpool.store.arrays.consolidated import consolidated
from covpool.store.arrays.schema import ARRAYS

#: The arrays that writers fill, or a compacted copy of them.
_NAMESPACE = r"[0-9a-f]{32}(?:/compacted\.[1-9][0-9]{0,8})?"
_GROUP = rf"{_NAMESPACE}/(?:compacted\.[0-9]{{1,9}}/)?"
_PATH = re.compile(
    rf"(?:{_GROUP}(?:[a-z][a-z0-9_]{{0,31}}/)?)?zarr\.json"
    rf"|{_GROUP}[a-z][a-z0-9_]{{0,31}}/c(?:\.[0-9]{{1,9}}){{1,4}}"
)


_GROUP_FILE = re.compile(rf"(?:({_NAMESPACE})/)?zarr\.json")


class StoredFiles:
    """Read-only bytes by path below `arrays/`."""

    def __init__(self, storage: ZarrStorage) -> None:
        self._storage = storage

    async def group(self, path: str) -> bytes | None:
        """The metadata of a group with those of all its members; None when `path` is no group's `zarr.json`.

        Raises:
            CorruptEntryError: they are damaged.
        """
        named = _GROUP_FILE.fullmatch(path)
        return None if named is None else await consolidated(self._storage, named.group(1) or "")

    async def size(self, path: str) -> int | None:
        """Bytes of a file; None if there is none, or the path is not one of the format."""
        if _PATH.fullmatch(path) is None:
            return None
        try:
            return await self._storage.getsize(f"{ARRAYS}/{path}")
        except FileNotFoundError:
            return None

    async def read(self, path: str, start: int, end: int) -> bytes | None:
        """Bytes [start, end) of a file; None if there is none, or the path is not one of the format."""
        if _PATH.fullmatch(path) is None:
            return None
        wanted = RangeByteRequest(start, end)
        buffer = await self._storage.get(f"{ARRAYS}/{path}", default_buffer_prototype(), wanted)
        return None if buffer is None else buffer.to_bytes()
