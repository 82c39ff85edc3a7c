"""Adding names in bulk, against the bare driver filling the same table with rows made beforehand.

    python benchmarks/names.py [POSTGRES_URL]

The peer is `executemany` on SQLite and `COPY` on Postgres, each in one transaction, without checking a name,
working out its digest, or skipping what is there. Ratios are of rates: 1.0 is as fast as the peer. Give the
URL of an empty Postgres database to have its row too; its table of names is emptied.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from covpool.store import Name, Store
from covpool.store.catalog.tables import names as table
from covpool.store.catalog.tables import subjects
from covpool.store.values.keys import sha256

NAMES = 100_000
ROUNDS = 3


def main() -> None:
    """Print the table."""
    print(f"{NAMES:,} names of {NAMES // 5:,} keys, median of {ROUNDS} pairs (min-max)")
    print("database   seconds   names/s   over the bare driver   adding them again, s")
    _row("SQLite", None)
    if len(sys.argv) > 1:
        _row("Postgres", sys.argv[1])


def _row(database: str, catalog: str | None) -> None:
    names = [_name(number) for number in range(NAMES)]
    ours, ratios, again = [], [], []
    with tempfile.TemporaryDirectory() as directory, Store.open(directory, catalog=catalog) as store:
        engine = store.database.engine
        for _ in range(ROUNDS):
            _empty(engine)
            ours.append(_seconds(lambda: store.names.add(names)))
            again.append(_seconds(lambda: store.names.add(names)))
            with engine.connect() as connection:
                rows = [tuple(row) for row in connection.execute(sa.select(table))]
            assert len(rows) == NAMES
            _empty(engine)
            ratios.append(_seconds(lambda rows=rows: _bare(engine, rows)) / ours[-1])  # type: ignore[misc]
        _empty(engine)
    seconds = statistics.median(ours)
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    repeated = statistics.median(again)
    print(f"{database:8s}   {seconds:7.2f}   {NAMES / seconds:7,.0f}   {spread:20s}   {repeated:.2f}")


def _name(number: int) -> Name:
    key = sha256(f"{number % (NAMES // 5)}")
    place = {"chrom": f"chr{number % 20}", "start": 100 * number, "end": 100 * number + 50}
    return Name(name=f"gene{number}", key=key, kind="gene_id", assembly="example", strand="+", **place)  # type: ignore[arg-type]


def _empty(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(table))
        connection.execute(sa.delete(subjects))


def _bare(engine: sa.Engine, rows: list[tuple[Any, ...]]) -> None:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    connection: Any = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if engine.dialect.name == "postgresql":
            with cursor.copy(f"COPY names ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(
                f"INSERT INTO names ({columns}) VALUES ({', '.join('?' * len(rows[0]))})", rows
            )
        connection.commit()
    finally:
        connection.close()


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
