"""Descriptions: the zarr.json files of a namespace's arrays, rewritten if they are missing or damaged.

Their content follows from the catalog, and for a compacted copy from its plan.
"""

import json
import logging

from zarr.abc.store import Store as ZarrStorage
from zarr.storage import MemoryStore

from covpool.store.arrays.compacted_arrays import (
    SEALED,
    create_compacted,
    mark_copy,
)
from covpool.store.arrays.compacted_arrays import USED as USED_MARK
from covpool.store.arrays.schema import generation_path
from covpool.store.arrays.zarr_arrays import NamespaceArrays
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Place
from covpool.store.catalog.tables import USED
from covpool.store.maintenance.compact import read_plan
from covpool.store.opened import OpenedStore
from covpool.store.storage.objects import Objects

log = logging.getLogger(__name__)


def mend_descriptions(store: OpenedStore, place: Place) -> list[str]:
    """Rewrite the missing or damaged descriptions of the arrays of a place.

    Returns:
        Paths of those written.

    Raises:
        StorageError: the storage cannot be reached or written.
    """
    scratch, path = MemoryStore(), generation_path(place.namespace, place.generation)
    if not place.generation:
        NamespaceArrays(scratch, place.namespace)
    elif not _describe_copy(store, place, path, scratch):
        return []
    made, written = Objects(scratch), []
    for name in sorted(made.below(path)):
        description = made.read(name)
        assert description is not None
        if not _is_description(store.objects.read(name)):
            store.objects.write(name, description)
            written.append(name)
    if written:
        log.warning("damaged or missing descriptions were written anew: %s", ", ".join(written))
    return written


def _describe_copy(store: OpenedStore, place: Place, path: str, scratch: ZarrStorage) -> bool:
    """Describe a copy that is in use; False if its plan is missing too."""
    try:
        plan = read_plan(store.objects, path)
    except (ValueError, KeyError, TypeError):
        return False
    if plan is None or Copies(store.database).states(place.namespace.id).get(place.generation) != USED:
        return False
    create_compacted(scratch, place.namespace, place.generation, plan.attributes, len(plan.sources))
    for mark in (SEALED, USED_MARK):
        mark_copy(scratch, path, mark)
    return True


def _is_description(text: bytes | None) -> bool:
    """Whether it can be parsed; the content is not compared, as versions of zarr write it differently."""
    try:
        return text is not None and "node_type" in json.loads(text)
    except (ValueError, TypeError):
        return False
