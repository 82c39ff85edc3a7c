"""Export: selected matrices as files that can be read without covpool."""

import json
import struct
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BloscShuffle
from zarr.errors import ZarrUserWarning

from covpool.store.arrays.layout import Progress, no_progress
from covpool.store.catalog.entries import Entry
from covpool.store.errors import LocationError
from covpool.store.opened import OpenedStore
from covpool.store.storage.whole_files import new_file

_SAFETENSORS_DTYPES = {"float32": "F32", "float64": "F64"}

#: Attribute with the keys of an unfinished Zarr export, in order; deleted when it is complete.
_UNFINISHED = "unfinished"


def describe(store: OpenedStore, entry: Entry) -> dict[str, Any]:
    """Metadata of a matrix, its names included, as JSON values."""
    names = [asdict(name) for name in store.names.of(entry.key)]
    return {
        "names": [
            {field: value for field, value in name.items() if field not in ("key", "also")} for name in names
        ],
        "key": entry.key,
        "count": entry.count,
        "sequence": entry.sequence,
        "length": entry.length,
        "error": entry.error,
        "created": entry.created and entry.created.isoformat(),
        "recipe": json.loads(entry.namespace.recipe.to_json()),
    }


def export_zarr(
    store: OpenedStore, entries: Sequence[Entry], target: Path, *, progress: Progress = no_progress
) -> int:
    """Write a Zarr v3 group: for each recipe a group of `second_moment` (n, d, d), `mean`, `count`.

    Matrices are full, one chunk each. The metadata of row i are in the group's attribute `entries`[i].
    An interrupted export of the same entries resumes where it stopped. When it is complete its metadata are
    consolidated, so that a plain web server is enough to share it.

    Returns:
        How many matrices were written, without those of the interrupted run.

    Raises:
        LocationError: the target exists and is no unfinished export of these entries.
    """
    keys = [entry.key for entry in entries]
    if target.exists():
        try:
            root = zarr.open_group(str(target), mode="r+")
            begun = root.attrs.get(_UNFINISHED)
        except (FileNotFoundError, ValueError):
            begun = None
        if begun != keys:
            raise LocationError(
                f"{target}: is there already and is no unfinished export of these {len(keys)} matrices; "
                "remove it or name another"
            )
    else:
        root = zarr.create_group(str(target), attributes={_UNFINISHED: keys})
    by_namespace: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_namespace[entry.namespace.id].append(entry)
    done = written = 0
    for name, rows in by_namespace.items():
        second_moment, mean, count = _export_arrays(store, root, name, rows)
        for row, entry in enumerate(rows):
            # The count is written last: where it is set, the row is complete.
            if not count[row]:
                moments = store.get(entry.key)
                second_moment[row], mean[row] = moments.second_moment, moments.mean
                count[row] = moments.count
                written += 1
            done += 1
            progress(done, len(entries))
    del root.attrs[_UNFINISHED]
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata are not part of the specification yet.
        warnings.simplefilter("ignore", ZarrUserWarning)
        # The group is complete: readers over plain HTTP, which cannot list, need consolidated metadata.
        for path in (*by_namespace, ""):
            zarr.consolidate_metadata(root.store, path=path)
    return written


def export_npz(
    store: OpenedStore, entries: Sequence[Entry], target: Path, *, progress: Progress = no_progress
) -> int:
    """Write `<key>/second_moment`, `<key>/mean`, `<key>/count` of each, and metadata as JSON in `metadata`.

    One matrix is in memory at a time.

    Raises:
        LocationError: the file is there already.
    """
    with new_file(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, values: Any) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)

        add("metadata", json.dumps([describe(store, entry) for entry in entries]))
        for done, entry in enumerate(entries):
            moments = store.get(entry.key)
            add(f"{entry.key}/second_moment", moments.second_moment)
            add(f"{entry.key}/mean", moments.mean)
            add(f"{entry.key}/count", np.int64(moments.count))
            progress(done + 1, len(entries))
    return len(entries)


def export_safetensors(
    store: OpenedStore, entries: Sequence[Entry], target: Path, *, progress: Progress = no_progress
) -> int:
    """Write `<key>/second_moment` and `<key>/mean` of each, and all metadata as JSON under `__metadata__`.

    The library writes whole dictionaries; here the header, which needs no numbers, goes first and then one
    matrix at a time.

    Raises:
        LocationError: the file is there already.
    """
    header: dict[str, Any] = {
        "__metadata__": {"covpool": json.dumps([describe(store, entry) for entry in entries])}
    }
    end = 0
    for entry in entries:
        d, dtype = entry.namespace.width, entry.namespace.dtype
        for name, shape in (("mean", [d]), ("second_moment", [d, d])):
            begin, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
            header[f"{entry.key}/{name}"] = {
                "dtype": _SAFETENSORS_DTYPES[dtype],
                "shape": shape,
                "data_offsets": [begin, end],
            }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with new_file(target) as path, path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for done, entry in enumerate(entries):
            moments = store.get(entry.key)
            file.write(np.ascontiguousarray(moments.mean).data)
            file.write(np.ascontiguousarray(moments.second_moment).data)
            progress(done + 1, len(entries))
    return len(entries)


def _export_arrays(
    store: OpenedStore, root: zarr.Group, name: str, rows: Sequence[Entry]
) -> "tuple[zarr.Array[Any], zarr.Array[Any], zarr.Array[Any]]":
    namespace = rows[0].namespace
    n, d = len(rows), namespace.width
    group = root.require_group(name)
    group.attrs.update(
        recipe=json.loads(namespace.recipe.to_json()), entries=[describe(store, entry) for entry in rows]
    )
    shuffled = BloscCodec(
        typesize=np.dtype(namespace.dtype).itemsize, cname="lz4", shuffle=BloscShuffle.bitshuffle
    )

    def array(name: str, shape: tuple[int, ...], dtype: str, compressors: Any) -> "zarr.Array[Any]":
        return group.require_array(
            name, shape=shape, chunks=(1, *shape[1:]), dtype=dtype, compressors=compressors, fill_value=0
        )

    return (
        array("second_moment", (n, d, d), namespace.dtype, [shuffled]),
        array("mean", (n, d), namespace.dtype, None),
        array("count", (n,), "int64", None),
    )
