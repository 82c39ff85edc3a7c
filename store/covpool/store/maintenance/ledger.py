"""Ledger: what the tools ask of the catalog, and change in it, besides what readers and writers do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from covpool.store.catalog import Catalog, at, entry_of, namespace_of, namespace_row, select_entries
from covpool.store.engines import insert_if_absent
from covpool.store.entries import Entry, Place
from covpool.store.schema import Namespace, Record
from covpool.store.tables import READY, RESERVED, RETIRED, entries, namespaces


@dataclass(frozen=True, slots=True)
class Found:
    """A whole row found in the arrays.

    Attributes:
        place: where.
        record: what it says of itself.
        written: when, UTC, as far as the storage tells.
    """

    place: Place
    record: Record
    written: datetime | None


@dataclass(frozen=True, slots=True)
class Move:
    """A row that was copied.

    Attributes:
        key: whose it is.
        source: where it was read.
        target: where it lies now too.
        checksum: that of its record there.
    """

    key: str
    source: Place
    target: Place
    checksum: int


class Ledger:
    """The catalog as the tools see it: rows in every state."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def namespaces(self) -> dict[str, tuple[Namespace, int]]:
        """By id: each namespace, and how many rows it has handed out."""
        with self._catalog.reading() as connection:
            rows = connection.execute(sa.select(namespaces)).all()
        return {row.id: (namespace_of(row), row.next_row) for row in rows}

    def rows(self, namespace: str, generation: int) -> dict[int, str]:
        """State by row, of one set of arrays."""
        query = sa.select(entries.c.row, entries.c.state).where(
            entries.c.namespace == namespace, entries.c.generation == generation
        )
        with self._catalog.reading() as connection:
            return {row.row: row.state for row in connection.execute(query)}

    def entries(
        self, state: str, *, before: datetime | None = None, namespace: str | None = None
    ) -> list[Entry]:
        """Entries in one state, in the order of their places; those that came into it `before`."""
        query = select_entries().where(entries.c.state == state)
        if before is not None:
            query = query.where(entries.c.since < before)
        if namespace is not None:
            query = query.where(entries.c.namespace == namespace)
        query = query.order_by(entries.c.namespace, entries.c.generation, entries.c.row)
        with self._catalog.reading() as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def retire(self, reserved: Iterable[Entry]) -> list[Entry]:
        """Give up reservations, whose writers cannot flip them any more; returns those still reserved."""
        retired, now = [], datetime.now(UTC)
        with self._catalog.writing() as connection:
            for entry in reserved:
                change = sa.update(entries).where(at(entry.place), entries.c.state == RESERVED)
                if connection.execute(change.values(state=RETIRED, since=now)).rowcount:
                    retired.append(entry)
        return retired

    def forget(self, retired: Iterable[Entry]) -> None:
        """Drop retired entries whose chunks are gone."""
        with self._catalog.writing() as connection:
            for entry in retired:
                connection.execute(sa.delete(entries).where(at(entry.place), entries.c.state == RETIRED))

    def register(self, namespace: Namespace, next_row: int) -> None:
        """Have the namespace, with at least `next_row` rows handed out."""
        with self._catalog.writing() as connection:
            insert_if_absent(connection, namespaces, [namespace_row(namespace)])
            connection.execute(
                sa.update(namespaces)
                .where(namespaces.c.id == namespace.id, namespaces.c.next_row < next_row)
                .values(next_row=next_row)
            )

    def adopt(self, found: Sequence[Found]) -> list[bool]:
        """Enter rows found in the arrays: ready if nothing is ready under their key, else retired.

        Returns:
            For each, whether it became ready.
        """
        became, now = [], datetime.now(UTC)
        with self._catalog.writing() as connection:
            for one in found:
                record, written = one.record, one.written or now
                key = entries.c.key == record.key
                taken = connection.scalar(sa.select(entries.c.key).where(key, entries.c.state == READY))
                connection.execute(
                    sa.insert(entries).values(
                        namespace=one.place.namespace.id,
                        generation=one.place.generation,
                        row=one.place.row,
                        key=record.key,
                        state=RETIRED if taken else READY,
                        since=written,
                        sequence=record.sequence,
                        length=record.length,
                        count=record.count,
                        error=record.error,
                        checksum=record.checksum,
                        created=written,
                    )
                )
                became.append(not taken)
        return became

    def swap(self, moves: Sequence[Move]) -> int:
        """Make copies the rows that are read, where their sources still are; all in one transaction.

        Returns:
            How many keys are read from their copies now.
        """
        if not moves:
            return 0
        now, namespace = datetime.now(UTC), moves[0].source.namespace.id
        with self._catalog.writing() as connection:
            query = sa.select(entries).where(entries.c.namespace == namespace, entries.c.state == READY)
            rows = {row.key: row for row in connection.execute(query.with_for_update())}
            standing = [
                (move, rows[move.key])
                for move in moves
                if move.key in rows
                and (rows[move.key].generation, rows[move.key].row)
                == (move.source.generation, move.source.row)
            ]
            for move, _ in standing:
                change = sa.update(entries).where(at(move.source))
                connection.execute(change.values(state=RETIRED, since=now))
            for move, row in standing:
                values = dict(row._mapping) | {
                    "generation": move.target.generation,
                    "row": move.target.row,
                    "since": now,
                    "checksum": move.checksum,
                }
                connection.execute(sa.insert(entries).values(values))
        return len(standing)
