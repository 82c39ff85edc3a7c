"""Layout: the namespaces, generations and rows in the storage, independent of the catalog."""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from json import JSONDecodeError

import zarr
from zarr.abc.store import Store as ZarrStorage
from zarr.errors import ZarrUserWarning

from covpool.store.arrays.schema import ARRAYS, SECOND_MOMENT, Namespace
from covpool.store.errors import CorruptEntryError
from covpool.store.storage.objects import Objects
from covpool.store.values.keys import Recipe

#: Called with the number of items done and the total.
Progress = Callable[[int, int], None]

_NAMESPACE = re.compile(r"[0-9a-f]{32}")
_CHUNK = re.compile(
    rf"{ARRAYS}/(?P<namespace>[0-9a-f]{{32}})/(?:compacted\.(?P<generation>\d+)/)?"
    r"(?P<array>second_moment|mean|record)/c\.(?P<index>\d+)(?:\.0){1,2}"
)
_PARTIAL = ".partial"

#: The plan of a compacted copy: its first object, which is never rewritten.
PLAN = "plan.json"


def no_progress(done: int, total: int) -> None:
    """The default: reports nothing."""


@dataclass
class Layout:
    """The objects of all namespaces.

    Attributes:
        chunks: by namespace id and generation, the objects of each row (of a copy: of each shard).
        partial: files that a writer had not finished, with the time of their last change.
    """

    chunks: defaultdict[tuple[str, int], defaultdict[int, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    partial: dict[str, datetime | None] = field(default_factory=dict)


def read_layout(objects: Objects) -> Layout:
    """List every chunk. Rows reserved later are not in it, so list first and query the catalog afterwards."""
    layout = Layout()
    for path in objects.below(ARRAYS):
        if path.endswith(_PARTIAL):
            layout.partial[path] = objects.written(path)
        elif match := _CHUNK.fullmatch(path):
            which = (match["namespace"], int(match["generation"] or 0))
            layout.chunks[which][int(match["index"])].append(path)
    return layout


def stored_namespaces(storage: ZarrStorage) -> list[str]:
    """Ids of the namespaces that have arrays."""
    return [name for name in Objects(storage).children(ARRAYS) if _NAMESPACE.fullmatch(name)]


def generations(objects: Objects, namespace: str) -> list[int]:
    """Numbers of the compacted copies of a namespace, finished or not (those that have a plan), ascending."""
    path = f"{ARRAYS}/{namespace}"
    names = (name.partition("compacted.")[2] for name in objects.children(path))
    numbers = sorted(int(number) for number in names if number.isdigit())
    return [number for number in numbers if PLAN in objects.children(f"{path}/compacted.{number}")]


def read_namespace(storage: ZarrStorage, name: str) -> Namespace:
    """The namespace that the metadata of a folder describe.

    Raises:
        CorruptEntryError: they are damaged, or those of another namespace.
    """
    path = f"{ARRAYS}/{name}"
    try:
        attributes = zarr.open_group(storage, path=path, mode="r").attrs.asdict()
        with warnings.catch_warnings():
            # zarr warns about pcodec whenever an array is opened.
            warnings.simplefilter("ignore", ZarrUserWarning)
            array = zarr.open_array(storage, path=f"{path}/{SECOND_MOMENT}", mode="r")
        namespace = Namespace(
            Recipe.from_json(str(attributes["recipe"])),
            int(str(attributes["width"])),
            str(attributes["dtype"]),
            str(attributes["codec"]),
            array.shape[0],
        )
    except (JSONDecodeError, KeyError, OSError, ValueError, TypeError) as error:
        raise CorruptEntryError(
            f"{path}: its metadata are damaged ({error}); restore the zarr.json files"
        ) from error
    if namespace.id != name:
        raise CorruptEntryError(f"{path}: holds the metadata of {namespace.id}; restore its zarr.json files")
    return namespace


def some(numbers: Iterable[int], shown: int = 5) -> str:
    """The first few of many numbers, for messages."""
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:shown])) + (", …" if len(listed) > shown else "")
