"""Catalog: which keys are stored, in which namespace and row; the only thing readers trust.

A row is reserved, its chunks are written, and it is flipped to ready last; only ready rows are read.
SQLite (WAL mode) by default, or Postgres; the service keeps its job tables in the same database.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from covpool.store.engines import alone, insert_if_absent, reading, writing
from covpool.store.errors import CapacityError, InvalidMomentsError, StoreError
from covpool.store.keys import MomentsKey, Recipe, is_digest
from covpool.store.schema import Namespace, check_version, version_text

metadata = sa.MetaData()

_meta = sa.Table(
    "store_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

_namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("layer", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("dtype", sa.String(16), nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False),
    # Rows handed out so far; never lowered, so that no row is given to a second key.
    sa.Column("next_row", sa.Integer, nullable=False),
)

_entries = sa.Table(
    "entries",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("namespace", sa.String(32), sa.ForeignKey("namespaces.id"), nullable=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("sequence", sa.String(64), nullable=False, index=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger),
    sa.Column("error", sa.Double),
    sa.Column("created", sa.DateTime(timezone=True)),
    sa.UniqueConstraint("namespace", "row"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the catalog.

    Attributes:
        key: the key's digest.
        namespace: the arrays that hold it.
        row: its row there.
        ready: whether it may be read.
        sequence: digest of the bases.
        length: their number, in bp.
        count: tokens the moments count; None until ready.
        error: relative Frobenius error of the stored second moment, 0.0 if its codec is lossless; None
            until ready.
        created: when it became ready, UTC; None until then.
    """

    key: str
    namespace: Namespace
    row: int
    ready: bool
    sequence: str
    length: int
    count: int | None
    error: float | None
    created: datetime | None

    @property
    def moments_key(self) -> MomentsKey:
        """The key itself, put together again."""
        return MomentsKey(self.sequence, self.length, self.namespace.recipe)


class Catalog:
    """Look-ups and the reserve → ready protocol over one database."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        with self.writing() as connection:
            alone(connection, "covpool tables")
            metadata.create_all(connection)
            insert_if_absent(connection, _meta, [{"name": "format", "value": version_text()}])
            found = connection.scalar(sa.select(_meta.c.value).where(_meta.c.name == "format"))
        check_version(str(found), where)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes, see `engines.writing`."""
        return writing(self.engine)

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads, see `engines.reading`."""
        return reading(self.engine)

    def reserve(self, key: MomentsKey, namespace: Namespace) -> tuple[Namespace, int]:
        """The arrays and row that belong to `key`: the ones it already has, else the next free row.

        A key that has a row stays in its namespace, whatever codec is asked for.

        Raises:
            CapacityError: the namespace is full.
            InvalidMomentsError: the key is stored in another width or dtype.
        """
        with self.writing() as connection:
            if (entry := self._find(connection, key.digest)) is not None:
                return self._own_row(key, entry, namespace)
            insert_if_absent(connection, _namespaces, [_namespace_row(namespace)])
            # The namespace's row is the lock: one writer at a time hands out rows of its arrays.
            query = sa.select(_namespaces).where(_namespaces.c.id == namespace.id).with_for_update()
            found = connection.execute(query).one()
            known = _namespace_of(found)
            row = {
                "key": key.digest,
                "namespace": known.id,
                "row": found.next_row,
                "state": "reserved",
                "sequence": key.sequence,
                "length": key.length,
            }
            if found.next_row < known.capacity and insert_if_absent(connection, _entries, [row]):
                connection.execute(
                    sa.update(_namespaces)
                    .where(_namespaces.c.id == known.id)
                    .values(next_row=found.next_row + 1)
                )
                return known, found.next_row
            # Another writer was faster with this key, or there is no room for it.
            if (rival := self._find(connection, key.digest)) is not None:
                return self._own_row(key, rival, namespace)
            raise CapacityError(
                f"namespace {known.id} ({known.recipe.model}, {known.recipe.layer}) holds "
                f"{known.capacity:,} matrices and is full; open a second store"
            )

    def flip_ready(
        self,
        key: MomentsKey,
        count: int,
        error: float,
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        """Make a written row readable; `also` runs in the same transaction, so both happen or neither.

        Raises:
            StoreError: the reservation is gone (removed as abandoned); put again.
        """
        with self.writing() as connection:
            flipped = connection.execute(
                sa.update(_entries)
                .where(_entries.c.key == key.digest)
                .values(state="ready", count=count, error=error, created=datetime.now(UTC))
            )
            if flipped.rowcount != 1:
                raise StoreError(f"{key}: its reservation was removed while it was written; put it again")
            if also is not None:
                also(connection)

    def find(self, key: str) -> Entry | None:
        """The entry of a key digest, ready or not."""
        if not is_digest(key):
            return None
        with self.reading() as connection:
            return self._find(connection, key)

    def ready_among(self, keys: list[str], within: Connection | None = None) -> set[str]:
        """Those of `keys` that are ready, as seen by the transaction `within`, or by a new one."""
        found: set[str] = set()
        with nullcontext(within) if within is not None else self.reading() as connection:
            # SQLite binds at most 32,766 values in one statement.
            for start in range(0, len(keys), 10_000):
                query = sa.select(_entries.c.key).where(
                    _entries.c.key.in_(keys[start : start + 10_000]), _entries.c.state == "ready"
                )
                found.update(connection.scalars(query))
        return found

    def entries(
        self,
        *,
        model: str | None = None,
        layer: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Ready entries in key order, after the key `after`."""
        query = _select_entries().where(_entries.c.state == "ready").order_by(_entries.c.key)
        if model is not None:
            query = query.where(_namespaces.c.model == model)
        if layer is not None:
            query = query.where(_namespaces.c.layer == layer)
        if after is not None:
            query = query.where(_entries.c.key > after)
        if limit is not None:
            query = query.limit(limit)
        with self.reading() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def _find(self, connection: Connection, key: str) -> Entry | None:
        row = connection.execute(_select_entries().where(_entries.c.key == key)).one_or_none()
        return None if row is None else _entry(row)

    @staticmethod
    def _own_row(key: MomentsKey, entry: Entry, namespace: Namespace) -> tuple[Namespace, int]:
        # Whatever codec is asked for, a key stays in the namespace it has a row in.
        stored = entry.namespace
        if (stored.width, stored.dtype) != (namespace.width, namespace.dtype):
            raise InvalidMomentsError(
                f"{key}: is stored as {stored.width} x {stored.dtype}; offer it so (Moments.astype), "
                "or drop the old entry"
            )
        return entry.namespace, entry.row


def _select_entries() -> "sa.Select[tuple[object, ...]]":
    shared = [column for column in _namespaces.c if column.name not in ("id", "model", "layer")]
    return sa.select(_entries, *shared).join(_namespaces, _entries.c.namespace == _namespaces.c.id)


def _namespace_row(namespace: Namespace) -> dict[str, object]:
    return {
        "id": namespace.id,
        "recipe": namespace.recipe.to_json(),
        "model": namespace.recipe.model,
        "layer": namespace.recipe.layer,
        "width": namespace.width,
        "dtype": namespace.dtype,
        "codec": namespace.codec,
        "capacity": namespace.capacity,
        "next_row": 0,
    }


def _namespace_of(row: "sa.Row[tuple[object, ...]]") -> Namespace:
    return Namespace(Recipe.from_json(row.recipe), row.width, row.dtype, row.codec, row.capacity)


def _entry(row: "sa.Row[tuple[object, ...]]") -> Entry:
    return Entry(
        row.key,
        _namespace_of(row),
        row.row,
        row.state == "ready",
        row.sequence,
        row.length,
        # `row.count` is the tuple method.
        row._mapping["count"],
        row.error,
        # SQLite keeps no time zone.
        row.created and row.created.replace(tzinfo=UTC),
    )
