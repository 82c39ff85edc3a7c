"""Consolidated metadata: the `zarr.json` of a group with those of its members, for readers that cannot list.

Made for each request and never stored: writers add namespaces and copies at any time, from any host, and
readers see only what is listed.
"""

import asyncio
import json
import re
from typing import Any

from zarr.abc.store import Store as ZarrStorage
from zarr.core.buffer import default_buffer_prototype

from covpool.store.arrays.compacted_arrays import SEALED
from covpool.store.arrays.schema import ARRAYS, MEAN, RECORD, SECOND_MOMENT
from covpool.store.errors import CorruptEntryError

_NAMESPACE = re.compile(r"[0-9a-f]{32}")
_COPY = re.compile(r"compacted\.[1-9][0-9]{0,8}")

#: The name in zarr.
CONSOLIDATED = "consolidated_metadata"

Metadata = dict[str, Any]


async def consolidated(storage: ZarrStorage, group: str) -> bytes | None:
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
    is_copy = _COPY.fullmatch(path.rpartition("/")[2])
    if own is None or (is_copy and not own.get("attributes", {}).get(SEALED)):
        return {}
    members = await _members(storage, path)
    # The group of a deleted copy remains.
    return {"": own | _inline({}), **members} if members else {}


async def _groups(storage: ZarrStorage, path: str) -> list[str]:
    form = _NAMESPACE if path == ARRAYS else _COPY
    if _COPY.fullmatch(path.rpartition("/")[2]):
        return []
    return sorted([name async for name in storage.list_dir(path) if form.fullmatch(name)])


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
    return {CONSOLIDATED: {"kind": "inline", "must_understand": False, "metadata": members}}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
