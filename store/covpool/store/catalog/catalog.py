"""Catalog: which keys are stored, in which namespace and row; the only thing readers trust.

A row is reserved, its chunks are written, and it is flipped to ready last; only ready rows are read. A row
is written once: putting other moments under a key takes a new row, and the flip retires the old one.
SQLite (WAL mode) by default, or Postgres; the service keeps its job tables in the same database.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.arrays.schema import VERSION_TEXT, Namespace, check_version
from covpool.store.catalog.entries import Entry, Place, Written
from covpool.store.catalog.tables import READY, RESERVED, RETIRED, TABLES, equal
from covpool.store.catalog.tables import entries as _entries
from covpool.store.catalog.tables import meta as _meta
from covpool.store.catalog.tables import namespaces as _namespaces
from covpool.store.database.database import Database, clock, insert_if_absent, now
from covpool.store.errors import CapacityError, InvalidMomentsError, StoreError
from covpool.store.values.keys import MomentsKey, Recipe, is_digest


class Catalog:
    """Look-ups and the reserve → ready protocol over one database."""

    def __init__(self, database: Database, where: str) -> None:
        self.database = database
        TABLES.ensure(database)
        query = sa.select(_meta.c.value).where(_meta.c.name == "format")
        with self.database.reading() as connection:
            version = connection.scalar(query)
        if version is None:
            with self.database.writing() as connection:
                insert_if_absent(connection, _meta, [{"name": "format", "value": VERSION_TEXT}])
                version = connection.scalar(query)
        check_version(str(version), where)

    def reserve(self, key: MomentsKey, namespace: Namespace) -> Place:
        """A new row for one write of `key`; no other writer ever gets it.

        A key that is ready stays in its namespace, whatever the codec in the request.

        Raises:
            CapacityError: the namespace is full.
            InvalidMomentsError: the key is stored in another width or dtype.
        """
        with self.database.writing() as connection:
            entry = ready_entry(connection, key.digest)
            stored = namespace if entry is None else entry.namespace
            if (stored.width, stored.dtype) != (namespace.width, namespace.dtype):
                raise InvalidMomentsError(
                    f"{key}: is stored as {stored.width} x {stored.dtype}; offer it so (Moments.astype), "
                    "or drop the old entry"
                )
            return self._reserve(connection, [(key, stored)])[key.digest]

    def find_or_reserve(self, wanted: Sequence[tuple[MomentsKey, Namespace]]) -> list[Entry | Place]:
        """For each key the ready entry, or a new row to write it to; all in one transaction.

        Raises:
            CapacityError: a namespace is full; then nothing is reserved.
        """
        with self.database.writing() as connection:
            ready = ready_among(connection, [key.digest for key, _ in wanted])
            entries = [
                ready_entry(connection, key.digest) if key.digest in ready else None for key, _ in wanted
            ]
            free = [item for item, entry in zip(wanted, entries, strict=True) if entry is None]
            places = self._reserve(connection, free)
        return [
            places[key.digest] if entry is None else entry
            for (key, _), entry in zip(wanted, entries, strict=True)
        ]

    def _reserve(
        self, connection: Connection, wanted: Sequence[tuple[MomentsKey, Namespace]]
    ) -> dict[str, Place]:
        """Reserved rows by the digest of the key; each key occurs once."""
        places = {}
        # In one order everywhere: two writers must not wait for each other.
        for _, namespace in sorted({namespace.id: namespace for _, namespace in wanted}.items()):
            keys = [key for key, of in wanted if of.id == namespace.id]
            many = {"which": namespace.id, "rows": len(keys)}
            # The namespace's row is the lock: one writer at a time hands out rows of its arrays.
            registered = connection.execute(_NEXT_ROWS, many).one_or_none()
            if registered is None:
                insert_if_absent(connection, _namespaces, [namespace_row(namespace)])
                registered = connection.execute(_NEXT_ROWS, many).one_or_none()
            if registered is None:
                recipe = namespace.recipe
                raise CapacityError(
                    f"namespace {namespace.id} ({recipe.model}, {recipe.layer}) has handed out all its "
                    "rows; open a second store"
                )
            for row, key in enumerate(keys, registered.next_row - len(keys)):
                places[key.digest] = Place(namespace_of(registered), 0, row)
        if places:
            connection.execute(
                _RESERVE,
                [
                    {
                        "namespace": places[key.digest].namespace.id,
                        "generation": 0,
                        "row": places[key.digest].row,
                        "key": key.digest,
                        "state": RESERVED,
                        "sequence": key.sequence,
                        "length": key.length,
                    }
                    for key, _ in wanted
                ],
            )
        return places

    def flip_ready(
        self,
        written: Sequence[Written],
        *,
        replace: bool = False,
        on_commit: Callable[[Connection], None] | None = None,
    ) -> None:
        """Make written rows ready, and retire the rows that they replace, in one transaction.

        If another writer made a row of the key ready in the meantime, that row stays and this one is retired:
        the first writer wins. `on_commit` runs in the same transaction, so everything happens or nothing.

        Args:
            written: one row each of different keys.
            replace: retire the other row instead, unless it has the same checksum.
            on_commit: more to do in the transaction.

        Raises:
            StoreError: a reservation was given up (`gc` retires reservations that it regards as abandoned).
        """
        with self.database.writing() as connection:
            # In one order everywhere: two writers must not wait for each other.
            ordered = sorted(written, key=lambda row: row.key.digest)
            for row in ordered:
                since = lock_rows_of(connection, row.key.digest)
            ready = ready_among(connection, [row.key.digest for row in ordered])
            flipped: list[Written] = []
            for row in ordered:
                current = ready_entry(connection, row.key.digest) if row.key.digest in ready else None
                theirs = current is not None and current.place != row.replaces
                if current and theirs and not (replace and current.checksum != row.record.checksum):
                    _from_reserved(connection, _RETIRE, [row], [{"since": since}])
                    continue
                if current:
                    retire(connection, current.place, READY, since)
                flipped.append(row)
            if flipped:
                values = [
                    {"since": since, "created": since}
                    | {name: getattr(row.record, name) for name in ("count", "error", "checksum")}
                    for row in flipped
                ]
                _from_reserved(connection, _FLIP, flipped, values)
            if on_commit is not None:
                on_commit(connection)

    def give_up(self, place: Place) -> None:
        """Retire a reserved row whose writing failed."""
        with self.database.writing() as connection:
            retire(connection, place, RESERVED, now(connection))

    def find(self, key: str) -> Entry | None:
        """The ready entry of a key digest."""
        if not is_digest(key):
            return None
        with self.database.reading() as connection:
            return ready_entry(connection, key)

    def ready_among(self, keys: list[str]) -> set[str]:
        """Those of `keys` that are ready."""
        with self.database.reading() as connection:
            return ready_among(connection, keys)

    def count(self) -> int:
        """How many keys are ready."""
        with self.database.reading() as connection:
            return int(connection.scalar(_COUNT_READY) or 0)

    def entries(
        self,
        *,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
        sequence: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Ready entries in key order, after the key `after`."""
        wanted = {
            _namespaces.c.model: model,
            _namespaces.c.layer: layer,
            _namespaces.c.selection: selection,
            _entries.c.sequence: sequence,
            _entries.c.state: READY,
        }
        query = select_entries().where(*equal(wanted)).order_by(_entries.c.key).limit(limit)
        if after is not None:
            query = query.where(_entries.c.key > after)
        with self.database.reading() as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def batches(self, after: str = "", *, size: int = 256) -> Iterator[list[Entry]]:
        """All ready entries after a key, in key order, those that become ready in the meantime too."""
        while batch := self.entries(after=after, limit=size):
            yield batch
            after = batch[-1].key


def ready_entry(connection: Connection, key: str) -> Entry | None:
    """The ready entry of a key digest, as seen by a transaction."""
    row = connection.execute(_READY_ENTRY, {"which": key}).one_or_none()
    return None if row is None else entry_of(row)


def ready_among(connection: Connection, keys: list[str]) -> set[str]:
    """Those of `keys` that are ready, as seen by a transaction."""
    ready: set[str] = set()
    # SQLite binds at most 32,766 values in one statement.
    for start in range(0, len(keys), 10_000):
        ready.update(connection.scalars(_READY_AMONG, {"among": keys[start : start + 10_000]}))
    return ready


def lock_rows_of(connection: Connection, key: str) -> datetime:
    """Lock the rows of a key until the transaction ends, so that only one writer changes which is ready.

    Returns the time by the database's clock.
    """
    # SQLite has a single writer.
    if connection.dialect.name != "sqlite":
        locked = connection.execute(_ROWS_OF_KEY, {"which": key}).first()
        if locked is not None:
            return locked.time  # type: ignore[no-any-return]
    return now(connection)


def retire(connection: Connection, place: Place, state: str, since: datetime) -> bool:
    """Retire the row at a place if it is in this state; returns whether it was."""
    return connection.execute(_RETIRE, _where(place, state) | {"since": since}).rowcount > 0


def at(place: Place) -> "sa.ColumnElement[bool]":
    """The condition that an entry is at this place."""
    return sa.and_(
        _entries.c.namespace == place.namespace.id,
        _entries.c.generation == place.generation,
        _entries.c.row == place.row,
    )


def select_entries() -> "sa.Select[tuple[object, ...]]":
    """Every entry with the columns of its namespace; `entry_of` reads the rows."""
    shared = [
        column for column in _namespaces.c if column.name in ("recipe", "width", "dtype", "codec", "capacity")
    ]
    return sa.select(_entries, *shared).join(_namespaces, _entries.c.namespace == _namespaces.c.id)


def namespace_row(namespace: Namespace) -> dict[str, object]:
    """A namespace as a row of its table."""
    return {
        "id": namespace.id,
        "recipe": namespace.recipe.to_json(),
        "model": namespace.recipe.model,
        "layer": namespace.recipe.layer,
        "selection": namespace.recipe.selection,
        "width": namespace.width,
        "dtype": namespace.dtype,
        "codec": namespace.codec,
        "capacity": namespace.capacity,
        "next_row": 0,
    }


def namespace_of(row: "sa.Row[tuple[object, ...]]") -> Namespace:
    """The namespace in a row of its table, or of `select_entries`."""
    return _namespace(row.recipe, row.width, row.dtype, row.codec, row.capacity)


@lru_cache(maxsize=1024)
def _namespace(recipe: str, width: int, dtype: str, codec: str, capacity: int) -> Namespace:
    return Namespace(Recipe.from_json(recipe), width, dtype, codec, capacity)


def entry_of(row: "sa.Row[tuple[object, ...]]") -> Entry:
    """The entry in a row of `select_entries`."""
    return Entry(
        row.key,
        Place(namespace_of(row), row.generation, row.row),
        row.state,
        row.since.replace(tzinfo=UTC),
        row.sequence,
        row.length,
        # `row.count` is the tuple method.
        row._mapping["count"],
        row.error,
        row.checksum,
        # SQLite keeps no time zone.
        row.created and row.created.replace(tzinfo=UTC),
    )


# Statements that every `put` and `get` runs are built once, so that SQLAlchemy compiles them once.

_READY_ENTRY = select_entries().where(_entries.c.key == sa.bindparam("which"), _entries.c.state == READY)
_COUNT_READY = sa.select(sa.func.count()).select_from(_entries).where(_entries.c.state == READY)
_READY_AMONG = sa.select(_entries.c.key).where(
    _entries.c.key.in_(sa.bindparam("among", expanding=True)), _entries.c.state == READY
)
_ROWS_OF_KEY = (
    sa.select(_entries.c.row, clock().label("time"))
    .where(_entries.c.key == sa.bindparam("which"))
    .order_by(_entries.c.row)
    .with_for_update()
)
_ROWS = sa.bindparam("rows", type_=sa.BigInteger)
_NEXT_ROWS = (
    sa.update(_namespaces)
    .where(
        _namespaces.c.id == sa.bindparam("which"), _namespaces.c.next_row + _ROWS <= _namespaces.c.capacity
    )
    .values(next_row=_namespaces.c.next_row + _ROWS)
    .returning(*_namespaces.c)
)
_RESERVE = sa.insert(_entries).values(since=clock())
_AT_PLACE = sa.and_(
    _entries.c.namespace == sa.bindparam("in_namespace"),
    _entries.c.generation == sa.bindparam("in_generation"),
    _entries.c.row == sa.bindparam("in_row"),
    _entries.c.state == sa.bindparam("in_state"),
)
_RETIRE = sa.update(_entries).where(_AT_PLACE).values(state=RETIRED, since=sa.bindparam("since"))
_FLIP = (
    sa.update(_entries)
    .where(_AT_PLACE)
    .values(
        state=READY,
        **{name: sa.bindparam(name) for name in ("since", "count", "error", "checksum", "created")},
    )
)


def _from_reserved(
    connection: Connection, change: sa.Update, rows: Sequence[Written], values: Sequence[dict[str, object]]
) -> None:
    """Change rows that must be reserved, all in one statement."""
    which = [_where(row.place, RESERVED) for row in rows]
    result = connection.execute(
        change, [condition | new for condition, new in zip(which, values, strict=True)]
    )
    if result.rowcount == len(rows):
        return
    for row, new in zip(rows, values, strict=True):
        changed = sa.select(_entries.c.row).where(at(row.place), _entries.c.since == new["since"])
        if connection.scalar(changed) is None:
            raise StoreError(
                f"{row.key}: its reserved row {row.place.row} was taken for abandoned and given up; "
                "put it again"
            )


def _where(place: Place, state: str) -> dict[str, object]:
    """Parameters of `_AT_PLACE`."""
    return {
        "in_namespace": place.namespace.id,
        "in_generation": place.generation,
        "in_row": place.row,
        "in_state": state,
    }
