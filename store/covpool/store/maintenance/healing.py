"""Healing: a damaged row is replaced by another complete row of its key, or its key can be computed again.

An outage is not damage: a row is retired only after a test that the storage is available and works.
Nothing is deleted; `gc` does that. Missing or damaged descriptions (the zarr.json files of a namespace's
arrays) are rewritten: their content follows from the catalog, and for a compacted copy from its plan.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection
from zarr.abc.store import Store as ZarrStorage
from zarr.storage import MemoryStore

from covpool.store.arrays.compacted_arrays import SEALED, create_compacted, mark_copy
from covpool.store.arrays.compacted_arrays import USED as USED_MARK
from covpool.store.arrays.schema import generation_path
from covpool.store.arrays.zarr_arrays import NamespaceArrays
from covpool.store.catalog.entries import Entry, Place
from covpool.store.catalog.ledger import WholeRow
from covpool.store.catalog.tables import RETIRED, USED
from covpool.store.errors import CorruptEntryError, KeyNotFoundError
from covpool.store.maintenance.compact import read_plan
from covpool.store.opened import OpenedStore
from covpool.store.outages import probe
from covpool.store.storage.objects import Objects

log = logging.getLogger(__name__)

#: Attempts on a key that others change at the same time.
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Healing:
    """The result for a key that did not read back.

    Attributes:
        key: its digest.
        damaged: the row that was retired; None if the key reads back after all, or is not ready.
        current: the row that is ready now; None if there is none, and the key must be computed again.
        fault: what was wrong with the damaged row; "" if nothing was.
    """

    key: str
    damaged: Place | None
    current: Place | None
    fault: str

    @property
    def message(self) -> str:
        """The result in one sentence."""
        if self.damaged is None:
            return f"{self.key}: reads back" if self.current else f"{self.key}: is not in the store"
        if self.current is None:
            return f"{self.fault}; its row was retired, and no other row holds the key"
        return (
            f"{self.fault}; its row was retired, the key is read from row {self.current.row} of "
            f"{generation_path(self.current.namespace, self.current.generation)}"
        )


def heal(store: OpenedStore, key: str, *, on_commit: Callable[[Connection], None] | None = None) -> Healing:
    """Retire the ready row of a key if it is damaged, and make another complete row of it ready.

    The row is read again first: the failure may have been an outage, or the row may have been replaced since.

    Args:
        store: the store.
        key: digest of the key.
        on_commit: called in the transaction that leaves the key without a ready row.

    Raises:
        StorageError: the storage cannot be reached or written; nothing was retired.
        OutdatedCatalogError: the catalog is older than the arrays; nothing was retired.
        CorruptEntryError: others keep changing the key.
    """
    for _ in range(_ROUNDS):
        entry = store.catalog.find(key)
        if entry is None:
            return Healing(key, None, None, "")
        _describe(store, entry.place)
        fault = _fault(store, entry)
        if fault is None:
            return Healing(key, None, entry.place, "")
        probe(store)
        for other in store.ledger.of_key(key):
            record = store.record_at(other.place) if other.state == RETIRED else None
            if record is None or record.key != key or _fault(store, other) is not None:
                continue
            row = WholeRow(other.place, record, other.created)
            if store.ledger.adopt([row], {key: entry.place}) == [True]:
                return Healing(key, entry.place, other.place, fault)
        if store.ledger.retire_ready(entry, on_commit=on_commit):
            return Healing(key, entry.place, None, fault)
    raise CorruptEntryError(f"{key}: others change it all the time; try again")


def is_cached(store: OpenedStore, key: str, tell: Callable[[str], None]) -> bool:
    """Whether a key reads back; a damaged row is healed first, and `tell` gets the message.

    Raises:
        StorageError, OutdatedCatalogError, CorruptEntryError: as from `heal`.
    """
    try:
        store.get(key)
    except KeyNotFoundError:
        return False
    except CorruptEntryError:
        healing = heal(store, key)
        if healing.damaged is not None:
            tell(healing.message)
        return healing.current is not None
    return True


def _describe(store: OpenedStore, place: Place) -> None:
    """Rewrite damaged array metadata, without which all rows seem damaged."""
    try:
        store.arrays_of(place)
    except CorruptEntryError:
        probe(store)
        if _mend_descriptions(store, place) or not place.generation:
            store.arrays_of(place)


def _fault(store: OpenedStore, entry: Entry) -> str | None:
    """Why an entry does not read back; None where it does."""
    try:
        store.arrays_of(entry.place).read(entry.row, entry.key)
    except CorruptEntryError as error:
        return str(error).partition("; compute it again")[0]
    return None


def _mend_descriptions(store: OpenedStore, place: Place) -> list[str]:
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
    if plan is None or store.copies.states(place.namespace.id).get(place.generation) != USED:
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
