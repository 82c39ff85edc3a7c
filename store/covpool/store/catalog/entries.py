"""Entries: the catalog's rows, the places of moments in the arrays, and all of them as an Arrow table."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from covpool.store.arrays.schema import Namespace, Record
from covpool.store.catalog.tables import entries, equal, names, namespaces, subjects
from covpool.store.database.database import Database
from covpool.store.errors import CatalogError
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


if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 50_000

_TEXT = ("key", "sequence", "state", "model", "layer", "selection", "dtype", "codec", "recipe", "namespace")


def list_entries(
    database: Database, *, assembly: str | None, since: datetime | None, **wanted: str | None
) -> "pa.Table":
    """The entries of a catalog as a table; see `Store.table`, also for the errors.

    Args:
        database: of the catalog.
        assembly, since: see there.
        wanted: by column, the value that an entry must have; None is no condition.
    """
    import pyarrow as pa

    schema = pa.schema(
        [(name, pa.string()) for name in _TEXT]
        + [(name, pa.int64()) for name in ("width", "length", "count")]
        + [("error", pa.float64()), ("created", pa.timestamp("us", tz="UTC"))]
    )
    columns = {name: entries.c[name] if name in entries.c else namespaces.c[name] for name in schema.names}
    query = sa.select(*columns.values()).join(namespaces, entries.c.namespace == namespaces.c.id)
    query = query.where(*equal({columns[name]: wanted[name] for name in wanted})).order_by(entries.c.key)
    if assembly is not None:
        named = sa.select(subjects.c.key).join(names, names.c.subject == subjects.c.subject)
        query = query.where(entries.c.key.in_(named.where(names.c.assembly == assembly)))
    if since is not None:
        moment = since.replace(tzinfo=UTC) if since.tzinfo is None else since.astimezone(UTC)
        query = query.where(entries.c.created >= moment)
    try:
        with database.reading() as connection:
            # SQLite keeps no time zone: Arrow takes such times as UTC.
            batches = [
                pa.RecordBatch.from_arrays(list(zip(*rows, strict=True)), schema=schema)
                for rows in connection.execute(query).partitions(_BATCH)
            ]
        return pa.Table.from_batches(batches, schema)
    except (ValueError, TypeError) as error:
        # Arrow's own errors among them. SQLite keeps a text also where a number belongs.
        raise CatalogError(
            f"database {database.name}: holds values that are none of a catalog ({error}); restore a backup, "
            "or make it anew: covpool store rebuild"
        ) from error
