"""Ledger: the queries and changes of the catalog that only the maintenance tools need."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.arrays.schema import Namespace, Record
from covpool.store.catalog.catalog import (
    at,
    entry_of,
    lock_rows_of,
    namespace_of,
    namespace_row,
    ready_entry,
    retire,
    select_entries,
)
from covpool.store.catalog.entries import Entry, Place
from covpool.store.catalog.tables import (
    ABANDONED,
    READY,
    RESERVED,
    RETIRED,
    copies,
    entries,
    equal,
    namespaces,
)
from covpool.store.database.database import Database, insert_if_absent, now


@dataclass(frozen=True, slots=True)
class WholeRow:
    """A complete row in the arrays.

    Attributes:
        place: the row.
        record: its record.
        written: time of writing, UTC; None where the storage has none.
    """

    place: Place
    record: Record
    written: datetime | None


@dataclass(frozen=True, slots=True)
class Move:
    """A row that was copied.

    Attributes:
        key: digest of its key.
        source: the row it was copied from.
        target: the copy.
        checksum: of the record of the copy.
    """

    key: str
    source: Place
    target: Place
    checksum: int


class Ledger:
    """The catalog as the tools see it: rows in every state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def namespaces(self) -> dict[str, tuple[Namespace, int]]:
        """By id: each namespace, and how many rows it has handed out."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(namespaces)).all()
        return {row.id: (namespace_of(row), row.next_row) for row in rows}

    def rows(self, namespace: str, generation: int) -> dict[int, str]:
        """State by row, of one set of arrays."""
        query = sa.select(entries.c.row, entries.c.state).where(
            entries.c.namespace == namespace, entries.c.generation == generation
        )
        with self._database.reading() as connection:
            return {row.row: row.state for row in connection.execute(query)}

    def entries(
        self, state: str, *, before: datetime | None = None, namespace: str | None = None
    ) -> list[Entry]:
        """Entries in one state, in the order of their places; only those that entered it `before`."""
        query = select_entries().where(*equal({entries.c.state: state, entries.c.namespace: namespace}))
        if before is not None:
            query = query.where(entries.c.since < before)
        query = query.order_by(entries.c.namespace, entries.c.generation, entries.c.row)
        with self._database.reading() as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def retire(self, reserved: Iterable[Entry]) -> list[Entry]:
        """Retire reservations, so that their writers cannot make them ready; returns those retired."""
        with self._database.writing() as connection:
            since = now(connection)
            return [entry for entry in reserved if retire(connection, entry.place, RESERVED, since)]

    def of_key(self, key: str) -> list[Entry]:
        """Entries of a key in every state, the newest first."""
        query = select_entries().where(entries.c.key == key)
        newest = (entries.c.created.desc(), entries.c.generation.desc(), entries.c.row.desc())
        with self._database.reading() as connection:
            return [entry_of(row) for row in connection.execute(query.order_by(*newest))]

    def retire_ready(self, entry: Entry, *, on_commit: Callable[[Connection], None] | None = None) -> bool:
        """Retire the ready row of a key, unless another row of it became ready in the meantime.

        Args:
            entry: the ready entry, whose row cannot be read.
            on_commit: more to do in the same transaction.

        Returns:
            Whether it was still the ready entry.
        """
        with self._database.writing() as connection:
            lock_rows_of(connection, entry.key)
            retired = retire(connection, entry.place, READY, now(connection))
            if retired and on_commit is not None:
                on_commit(connection)
        return retired

    def forget(self, retired: Iterable[Place]) -> None:
        """Delete retired entries whose chunks are deleted."""
        with self._database.writing() as connection:
            for place in retired:
                connection.execute(sa.delete(entries).where(at(place), entries.c.state == RETIRED))

    def forget_copy(self, namespace: str, generation: int) -> None:
        """Delete the retired entries of a copy that is deleted."""
        of_copy = sa.and_(entries.c.namespace == namespace, entries.c.generation == generation)
        with self._database.writing() as connection:
            connection.execute(sa.delete(entries).where(of_copy, entries.c.state == RETIRED))

    def register(self, namespace: Namespace, next_row: int) -> None:
        """Enter the namespace, with at least `next_row` rows handed out."""
        with self._database.writing() as connection:
            insert_if_absent(connection, namespaces, [namespace_row(namespace)])
            connection.execute(
                sa.update(namespaces)
                .where(namespaces.c.id == namespace.id, namespaces.c.next_row < next_row)
                .values(next_row=next_row)
            )

    def adopt(self, rows: Sequence[WholeRow], replaces: Mapping[str, Place] | None = None) -> list[bool]:
        """Enter rows of the arrays: ready if nothing is ready under their key, else retired.

        A row with a retired entry becomes ready in the same way.

        Args:
            rows: complete rows; of several with one key the first counts. Rows of abandoned copies are
                skipped.
            replaces: by key, a ready row to retire.

        Returns:
            For each row, whether it became ready.
        """
        became: dict[int, bool] = {}
        with self._database.writing() as connection:
            since = now(connection)
            for row in sorted(rows, key=lambda row: row.record.key):
                copy = row.place.namespace.id, row.place.generation
                if row.place.generation and state_of_copy(connection, *copy) == ABANDONED:
                    became[id(row)] = False
                    continue
                lock_rows_of(connection, row.record.key)
                ready = ready_entry(connection, row.record.key)
                if ready is not None and ready.place == (replaces or {}).get(row.record.key):
                    retire(connection, ready.place, READY, since)
                    ready = None
                values = _values_of(row, RETIRED if ready else READY, since)
                if not insert_if_absent(connection, entries, [values]):
                    # The row was given up; it may have been reserved for another key.
                    change = sa.update(entries).where(at(row.place), entries.c.state == RETIRED)
                    retired = connection.execute(change.values(values)).rowcount
                    became[id(row)] = bool(retired) and ready is None
                    continue
                became[id(row)] = ready is None
        return [became[id(row)] for row in rows]

    def claim(self, rows: Sequence[tuple[Place, Record | None]]) -> list[Place]:
        """Enter rows without an entry as retired, so that no other process does; returns those entered.

        Args:
            rows: the place and the record of each; None for a row without a readable record.
        """
        claimed = []
        with self._database.writing() as connection:
            since = now(connection)
            for place, record in rows:
                values = _values_of(WholeRow(place, record or _NOBODYS, since), RETIRED, since)
                if insert_if_absent(connection, entries, [values]):
                    claimed.append(place)
        return claimed


def swap(connection: Connection, namespace: str, moves: Sequence[Move]) -> int:
    """Make copied rows ready, where their sources are still ready.

    Returns:
        How many keys are now read from their copies.
    """
    since = now(connection)
    query = sa.select(entries).where(entries.c.namespace == namespace, entries.c.state == READY)
    rows = {row.key: row for row in connection.execute(query.with_for_update())}
    standing = [
        (move, rows[move.key])
        for move in moves
        if move.key in rows
        and (rows[move.key].generation, rows[move.key].row) == (move.source.generation, move.source.row)
    ]
    for move, _ in standing:
        retire(connection, move.source, READY, since)
    for move, row in standing:
        values = dict(row._mapping) | {
            "generation": move.target.generation,
            "row": move.target.row,
            "since": since,
            "checksum": move.checksum,
        }
        connection.execute(sa.insert(entries).values(values))
    return len(standing)


def state_of_copy(connection: Connection, namespace: str, generation: int) -> str | None:
    """State of a copy, locked until the transaction ends; None if there is no such copy."""
    query = sa.select(copies.c.state).where(
        copies.c.namespace == namespace, copies.c.generation == generation
    )
    state: str | None = connection.scalar(query.with_for_update())
    return state


#: The record in the catalog of a row without a readable record.
_NOBODYS = Record("0" * 64, "0" * 64, 0, 0, 0.0, 0, 0)


def _values_of(row: WholeRow, state: str, since: datetime) -> dict[str, object]:
    return {
        "namespace": row.place.namespace.id,
        "generation": row.place.generation,
        "row": row.place.row,
        "key": row.record.key,
        "state": state,
        "since": since,
        "sequence": row.record.sequence,
        "length": row.record.length,
        "count": row.record.count,
        "error": row.record.error,
        "checksum": row.record.checksum,
        "created": row.written or since,
    }
