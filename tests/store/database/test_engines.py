"""Engines: SQLite and Postgres keep the same promises; a refusal says what to do and hides the password."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from covpool.store import CatalogError, LocationError, Store
from covpool.store.database.database import Database, advisory_lock, insert_if_absent
from covpool.store.database.engines import redacted
from covpool.store.testing import example_key, example_moments
from tests.postgres import PASSWORD, PostgresServer

TABLES = sa.MetaData()
NUMBERS = sa.Table("numbers", TABLES, sa.Column("number", sa.Integer, primary_key=True))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with an empty table."""
    opened = Database.open(database_url)
    with opened.writing() as connection:
        TABLES.create_all(connection)
    yield opened
    opened.close()


def numbers(database: Database) -> list[int]:
    with database.reading() as connection:
        return sorted(connection.scalars(sa.select(NUMBERS.c.number)))


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        connection.execute(sa.insert(NUMBERS).values(number=1))
        raise ZeroDivisionError
    assert numbers(database) == []


def test_a_reader_sees_one_snapshot_while_another_writes(database: Database) -> None:
    with database.reading() as reader:
        assert reader.scalar(sa.select(sa.func.count()).select_from(NUMBERS)) == 0
        with database.writing() as connection:
            connection.execute(sa.insert(NUMBERS).values(number=1))
        assert reader.scalar(sa.select(sa.func.count()).select_from(NUMBERS)) == 0
    assert numbers(database) == [1]


def test_rows_already_there_are_skipped_and_the_new_ones_counted(database: Database) -> None:
    with database.writing() as connection:
        assert insert_if_absent(connection, NUMBERS, [{"number": 1}, {"number": 2}]) == 2
        assert insert_if_absent(connection, NUMBERS, [{"number": 2}, {"number": 3}]) == 1
        assert insert_if_absent(connection, NUMBERS, []) == 0
    assert numbers(database) == [1, 2, 3]


def test_transactions_that_want_to_be_alone_wait_for_each_other(database: Database) -> None:
    """Each of 8 threads reads the highest number and inserts the next one, 5 times."""

    def count_on() -> None:
        for _ in range(5):
            with database.writing() as connection:
                advisory_lock(connection, "counting")
                highest = connection.scalar(sa.select(sa.func.max(NUMBERS.c.number)))
                connection.execute(sa.insert(NUMBERS).values(number=(highest or 0) + 1))

    threads = [threading.Thread(target=count_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(database) == list(range(1, 41))


def test_threads_reserving_the_same_keys_share_one_row_each(place_of_catalog: Store) -> None:
    store, names = place_of_catalog, [str(i) for i in range(12)]
    rows: list[tuple[str, int]] = []

    def put_all(shift: int) -> None:
        for name in names[shift:] + names[:shift]:
            store.put(example_key(name), example_moments(name))
            rows.append((name, store.entry(example_key(name)).row))

    threads = [threading.Thread(target=put_all, args=(shift,)) for shift in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 6 * len(names)
    assert len(set(rows)) == len({row for _, row in rows}) == len(names)
    assert store.verify() == []


@pytest.fixture
def place_of_catalog(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path, catalog=database_url) as opened:
        yield opened


def test_a_password_is_never_shown() -> None:
    assert redacted("postgresql://me:secret@host/name") == "postgresql://me:***@host/name"


def test_a_wrong_password_is_refused_without_printing_it(tmp_path: Path, postgres: PostgresServer) -> None:
    with pytest.raises(CatalogError, match=r"password authentication failed.*try again") as found:
        Store.open(tmp_path, catalog=postgres.url(password="let-me-in"))
    assert "let-me-in" not in str(found.value)
    assert PASSWORD not in str(found.value)


def test_an_unreachable_server_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CatalogError, match=rf"me:\*\*\*@127.0.0.1:{port}/name.*refused.*check that it runs"):
        Store.open(tmp_path, catalog=f"postgresql://me:secret@127.0.0.1:{port}/name")


def test_a_database_that_does_not_exist_is_named(tmp_path: Path, postgres: PostgresServer) -> None:
    with pytest.raises(CatalogError, match='database "nowhere" does not exist'):
        Store.open(tmp_path, catalog=postgres.url("nowhere"))


def test_a_server_that_hangs_up_between_two_puts_is_not_noticed(tmp_path: Path, postgres_url: str) -> None:
    with Store.open(tmp_path, catalog=postgres_url) as store:
        store.put(example_key("a"), example_moments("a"))
        hang_up(postgres_url)
        store.put(example_key("b"), example_moments("b"))
        assert len(store) == 2


def test_a_connection_lost_while_putting_leaves_nothing_readable(tmp_path: Path, postgres_url: str) -> None:
    key = example_key("a")
    with Store.open(tmp_path, catalog=postgres_url) as store:
        with pytest.raises(CatalogError, match=f"{key}: nothing became readable"):
            store.put(key, example_moments("a"), on_commit=lambda _: hang_up(postgres_url))
        assert key not in store
        store.put(key, example_moments("a"))
        assert store.verify() == []
        assert len(store) == 1


def hang_up(url: str) -> None:
    """Make the server close every other connection to the database."""
    database = Database.open(url)
    with database.writing() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    database.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url", r"sqlite:///path or postgresql://user:password@host/name"),
        ("mysql://me:secret@host/name", r"^mysql: not a database that holds a catalog"),
        ("postgresql://me:secret@host", r"me:\*\*\*@host: names no database"),
    ],
)
def test_a_url_of_no_catalog_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(LocationError, match=message) as found:
        Store.open(tmp_path, catalog=url)
    assert "secret" not in str(found.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covpool.store.database.engines.find_spec", lambda name: None)
    with pytest.raises(LocationError, match=r"pip install 'covpool\[postgres\]'"):
        Database.open("postgresql://me@host/name")
