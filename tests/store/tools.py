"""What the tests of the tools share."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from covpool.store import Store
from covpool.store.arrays.schema import Namespace
from covpool.store.database.database import Database
from covpool.store.testing import example_key, example_moments

NAMES = list("abcdefghij")


def soon() -> timedelta:
    """An age that everything has."""
    return timedelta(seconds=-60)


def fill(store: Store, names: Iterable[str], width: int = 8) -> None:
    """Put the moments of each name."""
    for name in names:
        store.put(example_key(name), example_moments(name, width))


def namespace_of(store: Store) -> Namespace:
    """The one namespace of a store."""
    (found,) = {entry.namespace for entry in store.catalog.entries()}
    return found


def assert_whole(store: Store, names: Iterable[str], width: int = 8) -> None:
    """Each name reads back bit for bit."""
    for name in names:
        found, expected = store.get(example_key(name)), example_moments(name, width)
        assert found.count == expected.count
        assert found.mean.tobytes() == expected.mean.tobytes()
        assert found.second_moment.tobytes() == expected.second_moment.tobytes()


def backup_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every row of the catalog's database by table, from one snapshot."""
    with store.database.reading() as connection:
        known = sa.MetaData()
        known.reflect(connection)
        return {
            name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
            for name, table in known.tables.items()
        }


def restore(url: str, backup: dict[str, list[dict[str, Any]]]) -> None:
    """Make a database hold what it held when the backup was taken."""
    database, known = Database.open(url), sa.MetaData()
    known.reflect(database.engine)
    with database.writing() as connection:
        for table in reversed(known.sorted_tables):
            connection.execute(sa.delete(table))
        for table in known.sorted_tables:
            if rows := backup[table.name]:
                connection.execute(sa.insert(table), rows)
    database.close()
