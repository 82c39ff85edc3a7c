"""Entries: what the catalog says of a key, and where a row of moments lies."""

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
        place: where its row lies.
        state: "reserved" (being written), "ready" (may be read) or "retired" (replaced or given up, until
            `gc` removes it).
        since: when it came into that state, UTC.
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
    """A reserved row whose chunks are there.

    Attributes:
        key: whose row it is.
        place: the row.
        record: what was written there.
        replaces: a ready row known to be damaged, to be replaced whatever its checksum.
    """

    key: MomentsKey
    place: Place
    record: Record
    replaces: Place | None = None
