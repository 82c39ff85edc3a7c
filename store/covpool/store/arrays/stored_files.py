"""Stored files: bytes of the Zarr hierarchy as stored, for remote readers.

Only paths of the format exist here: digests, array names and chunk numbers. The metadata of a group also have
those of its members, for readers that cannot list. They are made for each request and never stored: writers
add namespaces and copies at any time, from any host, and readers see only what is listed.
"""

import asyncio
import json
import re
from typing import Any

from zarr.abc.store import RangeByteRequest
from zarr.abc.store import Store as ZarrStorage
from zarr.core.buffer import default_buffer_prototype

from covpool.store.arrays.compacted_arrays import SEALED
from covpool.store.arrays.schema import ARRAYS, MEAN, RECORD, SECOND_MOMENT
from covpool.store.errors import CorruptEntryError

_NAMESPACE = r"[0-9a-f]{32}"
_COPY = r"compacted\.[1-9][0-9]{0,8}"
#: The arrays that writers fill, or a compacted copy of them.
_ARRAYS = rf"{_NAMESPACE}(?:/{_COPY})?"
_GROUP = rf"{_ARRAYS}/(?:compacted\.[0-9]{{1,9}}/)?"
_PATH = re.compile(
    rf"(?:{_GROUP}(?:[a-z][a-z0-9_]{{0,31}}/)?)?zarr\.json"
    rf"|{_GROUP}[a-z][a-z0-9_]{{0,31}}/c(?:\.[0-9]{{1,9}}){{1,4}}"
)
_GROUP_FILE = re.compile(rf"(?:({_ARRAYS})/)?zarr\.json")

Metadata = dict[str, Any]


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
        return None if named is None else await _consolidated(self._storage, named.group(1) or "")

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


async def _consolidated(storage: ZarrStorage, group: str) -> bytes | None:
    """The metadata of a group below `arrays/` ("" for the root) with all its members; None without a group.

    Members are the three arrays of each namespace, and its compacted copies once they are sealed.

    Raises:
        CorruptEntryError: the group's own metadata are damaged; a damaged member is left out.
    """
    path = _join(ARRAYS, group)
    try:
        own = await _read(storage, path)
    except ValueError as error:
        raise CorruptEntryError(f"{path}: its metadata are damaged ({error}); restore zarr.json") from error
    if own is None:
        return None
    return json.dumps(own | _inline(await _members(storage, path))).encode()


async def _members(storage: ZarrStorage, path: str) -> dict[str, Metadata]:
    """Metadata of everything below a group, by relative path."""
    groups = await _groups(storage, path)
    below = await asyncio.gather(*(_group(storage, _join(path, name)) for name in groups))
    arrays = () if path == ARRAYS else (MEAN, RECORD, SECOND_MOMENT)
    own = await asyncio.gather(*(_metadata(storage, _join(path, name)) for name in arrays))
    nodes = {name: node for name, node in zip(arrays, own, strict=True) if node is not None}
    for name, members in zip(groups, below, strict=True):
        nodes |= {_join(name, inner): node for inner, node in members.items()}
    return dict(sorted(nodes.items()))


async def _group(storage: ZarrStorage, path: str) -> dict[str, Metadata]:
    """A member group under the name "", and its content; empty for an unfinished copy."""
    own = await _metadata(storage, path)
    if own is None or (_is_copy(path) and not own.get("attributes", {}).get(SEALED)):
        return {}
    members = await _members(storage, path)
    # The group of a deleted copy remains.
    return {"": own | _inline({}), **members} if members else {}


async def _groups(storage: ZarrStorage, path: str) -> list[str]:
    if _is_copy(path):
        return []
    form = _NAMESPACE if path == ARRAYS else _COPY
    return sorted([name async for name in storage.list_dir(path) if re.fullmatch(form, name)])


def _is_copy(path: str) -> bool:
    return re.fullmatch(_COPY, path.rpartition("/")[2]) is not None


async def _metadata(storage: ZarrStorage, path: str) -> Metadata | None:
    try:
        return await _read(storage, path)
    except ValueError:
        return None


async def _read(storage: ZarrStorage, path: str) -> Metadata | None:
    buffer = await storage.get(f"{path}/zarr.json", default_buffer_prototype())
    if buffer is None:
        return None
    metadata = json.loads(buffer.to_bytes())
    if not isinstance(metadata, dict):
        raise ValueError("it is no JSON object")
    return metadata


def _inline(members: dict[str, Metadata]) -> Metadata:
    # Flat paths, and an empty listing in each member group, as zarr writes and reads it.
    return {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members}}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
