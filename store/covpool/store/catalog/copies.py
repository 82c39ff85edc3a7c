"""Compacted copies in the catalog: a copy is being built, then used, or abandoned for good.

Compaction and garbage collection agree here, in transactions, before an object is touched: an abandoned copy
is never used, and a used copy is abandoned only when no entry refers to it.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.catalog.ledger import Move, state_of_copy, swap
from covpool.store.catalog.tables import ABANDONED, BUILDING, READY, USED, copies, entries
from covpool.store.database.database import Database, insert_if_absent, now
from covpool.store.errors import StoreError


class Copies:
    """The compacted copies of all namespaces."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def states(self, namespace: str) -> dict[int, str]:
        """State by number, of one namespace."""
        query = sa.select(copies.c.generation, copies.c.state).where(copies.c.namespace == namespace)
        with self._database.reading() as connection:
            return {row.generation: row.state for row in connection.execute(query)}

    def attend(self, namespace: str, generation: int, state: str = BUILDING) -> None:
        """Record that a copy is being built, so that it is not regarded as abandoned; enter it if it is new.

        Args:
            namespace: id of the namespace.
            generation: its number.
            state: USED for a copy that is complete.

        Raises:
            StoreError: it was abandoned.
        """
        with self._database.writing() as connection:
            row = {"namespace": namespace, "generation": generation, "state": state}
            insert_if_absent(connection, copies, [row | {"since": now(connection)}])
            _change(connection, namespace, generation, state, copies.c.state == BUILDING)
            _refuse_abandoned(connection, namespace, generation)

    def use(self, namespace: str, generation: int, moves: Sequence[Move]) -> int:
        """Make the rows of a complete copy ready, where their sources still are, in one transaction.

        Returns:
            How many keys are now read from it.

        Raises:
            StoreError: it was abandoned in the meantime; no row changed.
        """
        with self._database.writing() as connection:
            _refuse_abandoned(connection, namespace, generation)
            _change(connection, namespace, generation, USED)
            return swap(connection, namespace, moves)

    def unfinished(self, before: datetime, *, abandon: bool) -> set[tuple[str, int]]:
        """Abandoned copies, and copies to `abandon` now: without a sign of life since `before`."""
        old = sa.and_(copies.c.state == BUILDING, copies.c.since < before)
        with self._database.writing() if abandon else self._database.reading() as connection:
            if abandon:
                change = sa.update(copies).where(old).values(state=ABANDONED, since=now(connection))
                connection.execute(change)
            rows = connection.execute(sa.select(copies).where(sa.or_(old, copies.c.state == ABANDONED)))
            return {(row.namespace, row.generation) for row in rows}

    def at_work(self, since: datetime) -> set[tuple[str, int]]:
        """Copies being built with a sign of life after `since`."""
        with self._database.reading() as connection:
            young = sa.select(copies).where(copies.c.state == BUILDING, copies.c.since >= since)
            return {(row.namespace, row.generation) for row in connection.execute(young)}

    def abandon_used(self, namespace: str, generation: int) -> bool:
        """Abandon a used copy if none of its rows is ready; returns whether it was abandoned."""
        with self._database.writing() as connection:
            state_of_copy(connection, namespace, generation)
            ready = sa.select(entries.c.row).where(
                entries.c.namespace == namespace,
                entries.c.generation == generation,
                entries.c.state == READY,
            )
            if connection.execute(ready.limit(1)).first() is not None:
                return False
            _change(connection, namespace, generation, ABANDONED)
            return True


def _change(
    connection: Connection, namespace: str, generation: int, state: str, *where: "sa.ColumnElement[bool]"
) -> None:
    """Give a copy a state, from now on."""
    of_copy = (copies.c.namespace == namespace, copies.c.generation == generation)
    change = sa.update(copies).where(*of_copy, *where)
    connection.execute(change.values(state=state, since=now(connection)))


def _refuse_abandoned(connection: Connection, namespace: str, generation: int) -> None:
    if state_of_copy(connection, namespace, generation) == ABANDONED:
        raise StoreError(
            f"copy {generation} of namespace {namespace} was taken for abandoned and given up (covpool store "
            "gc with an age shorter than its making took); nothing was swapped, compact again"
        )
