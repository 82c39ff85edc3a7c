"""Healing: a damaged row gives way to another whole row of its key, or its key is free to be computed again.

What an outage hides is not damaged: nothing is retired unless the storage proves to be there, and to work.
Nothing is removed either, which is left to `gc`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from covpool.store.arrays.schema import generation_path
from covpool.store.catalog.entries import Entry, Place
from covpool.store.catalog.ledger import Ledger, WholeRow
from covpool.store.catalog.tables import RETIRED
from covpool.store.errors import CorruptEntryError, KeyNotFoundError
from covpool.store.maintenance.descriptions import mend_descriptions
from covpool.store.opened import OpenedStore
from covpool.store.outages import probe

#: Times that a key is looked at again because others changed it meanwhile.
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Healing:
    """What became of a key that did not read back.

    Attributes:
        key: its digest.
        damaged: the row that was retired; None where the key reads back after all, or nothing is ready.
        current: the row that is read now; None where there is none, and the key has to be computed again.
        fault: what was wrong with the damaged row; "" where nothing was.
    """

    key: str
    damaged: Place | None
    current: Place | None
    fault: str

    @property
    def message(self) -> str:
        """What was done, in one sentence."""
        if self.damaged is None:
            return f"{self.key}: reads back" if self.current else f"{self.key}: is not in the store"
        if self.current is None:
            return f"{self.fault}; its row was retired, and no other row holds the key"
        return (
            f"{self.fault}; its row was retired, the key is read from row {self.current.row} of "
            f"{generation_path(self.current.namespace, self.current.generation)}"
        )


def heal(store: OpenedStore, key: str, *, on_commit: Callable[[Connection], None] | None = None) -> Healing:
    """Retire the row that is read under a key if it is damaged, and have another whole row of it read.

    The row is read again first: whoever saw it fail may have met an outage, or a row that was replaced since.

    Args:
        store: the store.
        key: digest of the key.
        on_commit: runs in the transaction that leaves the key without a row.

    Raises:
        StorageError: the storage cannot be reached or written; nothing was retired.
        OutdatedCatalogError: the catalog is older than the arrays; nothing was retired.
        CorruptEntryError: others change the key all the time.
    """
    ledger = Ledger(store.database)
    for _ in range(_ROUNDS):
        entry = store.catalog.find(key)
        if entry is None:
            return Healing(key, None, None, "")
        _describe(store, entry.place)
        fault = _fault(store, entry)
        if fault is None:
            return Healing(key, None, entry.place, "")
        probe(store)
        for other in ledger.of_key(key):
            record = store.record_at(other.place) if other.state == RETIRED else None
            if record is None or record.key != key or _fault(store, other) is not None:
                continue
            row = WholeRow(other.place, record, other.created)
            if ledger.adopt([row], {key: entry.place}) == [True]:
                return Healing(key, entry.place, other.place, fault)
        if ledger.retire_ready(entry, on_commit=on_commit):
            return Healing(key, entry.place, None, fault)
    raise CorruptEntryError(f"{key}: others change it all the time; try again")


def is_cached(store: OpenedStore, key: str, tell: Callable[[str], None]) -> bool:
    """Whether a key reads back, a damaged row of it having given way, which `tell` is told of.

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
    """Have the arrays described, without which all of their rows seem damaged."""
    try:
        store.arrays_of(place)
    except CorruptEntryError:
        probe(store)
        if mend_descriptions(store, place) or not place.generation:
            store.arrays_of(place)


def _fault(store: OpenedStore, entry: Entry) -> str | None:
    """Why an entry does not read back; None where it does."""
    try:
        store.arrays_of(entry.place).read(entry.row, entry.key)
    except CorruptEntryError as error:
        return str(error).partition("; compute it again")[0]
    return None
