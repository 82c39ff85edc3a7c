"""Inserts: rows that may be there already are left as they are, or updated, on SQLite and Postgres."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def insert_if_absent(connection: Connection, table: sa.Table, rows: list[dict[str, object]]) -> int:
    """Insert those of `rows` that collide with no row already there; returns how many were new.

    Of writers inserting the same row at once one does it, and the others wait for it and skip.
    """
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        # One statement however many rows: what each of them costs the driver is ten times its insertion.
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        inserted = connection.execute(_insert_columns(table, tuple(columns)), columns)
    else:
        inserted = connection.execute(_insert_rows(table), rows)
    return inserted.rowcount


def insert_or_update(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, object]],
    update: Sequence[str],
    where: "sa.ColumnElement[bool] | None" = None,
) -> None:
    """Insert rows; where a primary key exists, take over the columns `update` if `where` holds for it."""
    # One construct under two names; SQLAlchemy has no common type for them.
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    values = {name: insert.excluded[name] for name in update}
    if rows:
        connection.execute(
            insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=values, where=where),
            [dict(row) for row in rows],
        )


@lru_cache(maxsize=64)
def _insert_rows(table: sa.Table) -> sa.Insert:
    return sqlite.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@lru_cache(maxsize=64)
def _insert_columns(table: sa.Table, names: tuple[str, ...]) -> sa.Insert:
    """Takes a list for each column."""
    # As text of any length: a cast to VARCHAR(n) would cut what is too long, where inserting refuses it.
    kinds = {
        name: sa.Text() if isinstance(table.c[name].type, sa.String) else table.c[name].type for name in names
    }
    lists = (sa.func.unnest(sa.bindparam(name, type_=postgresql.ARRAY(kinds[name]))) for name in names)
    statement = postgresql.insert(table).from_select(names, sa.select(*lists))
    return statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
