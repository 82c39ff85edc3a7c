"""Catalog: which keys are stored, in which namespace and row; the only thing readers trust.

A row is reserved, its chunks are written, and it is flipped to ready last; only ready rows are read.
The service keeps its job table in the same database (SQLite in WAL mode by default).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from covpool.store.errors import CapacityError, InvalidMomentsError
from covpool.store.keys import MomentsKey, Recipe
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
        created: when it became ready, UTC; None until then.
    """

    key: str
    namespace: Namespace
    row: int
    ready: bool
    sequence: str
    length: int
    count: int | None
    created: datetime | None

    @property
    def moments_key(self) -> MomentsKey:
        """The key itself, put together again."""
        return MomentsKey(self.sequence, self.length, self.namespace.recipe)


def open_engine(url: str) -> Engine:
    """An engine for `url`; SQLite in WAL mode with explicit transactions."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    in_memory = url == "sqlite://"
    engine = (
        # One connection is the database: every thread shares it.
        sa.create_engine(url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
        if in_memory
        else sa.create_engine(url)
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: object, _: object) -> None:
        # The driver's own transaction control is switched off: `begin` below is explicit.
        connection.isolation_level = None  # type: ignore[attr-defined]
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "busy_timeout=30000",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer half-way fails at once when another writes; so writers say so first.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


class Catalog:
    """Look-ups and the reserve → ready protocol over one database."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        with self.writing() as connection:
            metadata.create_all(connection)
            found = connection.scalar(sa.select(_meta.c.value).where(_meta.c.name == "format"))
            if found is None:
                connection.execute(sa.insert(_meta).values(name="format", value=version_text()))
        check_version(found or version_text(), where)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed on leaving, rolled back on an exception."""
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, from one snapshot."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def reserve(self, key: MomentsKey, namespace: Namespace) -> tuple[Namespace, int]:
        """The arrays and row that belong to `key`: the ones it already has, else the next free row.

        Raises:
            CapacityError: the namespace is full.
            InvalidMomentsError: the key is stored in another dtype or codec.
        """
        with self.writing() as connection:
            if (entry := self._find(connection, key.digest)) is not None:
                if entry.namespace.id != namespace.id:
                    raise InvalidMomentsError(
                        f"{key}: is stored as {entry.namespace.width} x {entry.namespace.dtype} with codec "
                        f"{entry.namespace.codec}; offer it so (Moments.astype), or drop the old entry"
                    )
                return entry.namespace, entry.row
            known = self._namespace(connection, namespace.id)
            if known is None:
                connection.execute(sa.insert(_namespaces).values(_namespace_row(namespace)))
                known = namespace
            last = sa.select(sa.func.max(_entries.c.row)).where(_entries.c.namespace == known.id)
            highest = connection.scalar(last)
            row = 0 if highest is None else highest + 1
            if row >= known.capacity:
                raise CapacityError(
                    f"namespace {known.id} ({known.recipe.model}, {known.recipe.layer}) holds "
                    f"{known.capacity:,} matrices and is full; open a second store"
                )
            connection.execute(
                sa.insert(_entries).values(
                    key=key.digest,
                    namespace=known.id,
                    row=row,
                    state="reserved",
                    sequence=key.sequence,
                    length=key.length,
                )
            )
            return known, row

    def flip_ready(
        self, key: MomentsKey, count: int, also: Callable[[Connection], None] | None = None
    ) -> None:
        """Make a written row readable; `also` runs in the same transaction, so both happen or neither."""
        with self.writing() as connection:
            connection.execute(
                sa.update(_entries)
                .where(_entries.c.key == key.digest)
                .values(state="ready", count=count, created=datetime.now(UTC))
            )
            if also is not None:
                also(connection)

    def find(self, key: str) -> Entry | None:
        """The entry of a key digest, ready or not."""
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

    def _namespace(self, connection: Connection, namespace: str) -> Namespace | None:
        row = connection.execute(sa.select(_namespaces).where(_namespaces.c.id == namespace)).one_or_none()
        return None if row is None else _namespace_of(row)


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
        # SQLite keeps no time zone.
        row.created and row.created.replace(tzinfo=UTC),
    )
