"""Entries: the catalog's rows, and the places of moments in the arrays."""

from dataclasses import dataclass
from datetime import datetime

from covpool.store.arrays.schema import Namespace, Record
from covpool.store.values.keys import MomentsKey


@dataclass(frozen=True, slots=True)
class Place:
    """One row of one set of arrays.

    Attributes:
        namespace: the arrays' namespace.
        generation: 0 for the arrays that writers fill, 1 and up for their compacted copies.
        row: the row there.
    """

    namespace: Namespace
    generation: int
    row: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the catalog.

    Attributes:
        key: the key's digest.
        place: its row in the arrays.
        state: "reserved" (being written), "ready" (may be read) or "retired" (replaced or given up, until
            `gc` removes it).
        since: time of its last change of state, UTC.
        sequence: digest of the bases.
        length: their number, in bp.
        count: tokens the moments count; None until ready.
        error: relative Frobenius error of the stored second moment, 0.0 if its codec is lossless; None
            until ready.
        checksum: CRC-32C of the row's record; None until ready.
        created: when it became ready, UTC; None until then.
    """

    key: str
    place: Place
    state: str
    since: datetime
    sequence: str
    length: int
    count: int | None
    error: float | None
    checksum: int | None
    created: datetime | None

    @property
    def namespace(self) -> Namespace:
        """The arrays' namespace."""
        return self.place.namespace

    @property
    def row(self) -> int:
        """The row in its arrays."""
        return self.place.row

    @property
    def moments_key(self) -> MomentsKey:
        """The key itself, put together again."""
        return MomentsKey(self.sequence, self.length, self.namespace.recipe)


@dataclass(frozen=True, slots=True)
class Written:
    """A reserved row whose chunks are written.

    Attributes:
        key: the key it was reserved for.
        place: the row.
        record: its record.
        replaces: a damaged ready row, which is replaced whatever its checksum.
    """

    key: MomentsKey
    place: Place
    record: Record
    replaces: Place | None = None
