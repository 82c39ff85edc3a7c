"""Borders of the store: of SQLAlchemy, Alembic, Arrow, zarr and obstore callers see no error but ours."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store import Name, Store, StoreError
from covpool.store.catalog.tables import TABLES, entries, meta
from covpool.store.database import engines
from covpool.store.database.database import Database
from covpool.store.errors import CatalogError, CorruptEntryError, FormatVersionError, StorageError
from covpool.store.storage import buckets
from covpool.store.testing import example_key, example_moments
from tests.postgres import PostgresServer
from tests.s3 import s3_server

KEY, OTHER = example_key("a"), example_key("b")
#: What a user of a store may do with it.
CALLS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put(OTHER, example_moments("b")),
    "replace": lambda store: store.put(KEY, example_moments("b"), replace=True),
    "get": lambda store: store.get(KEY),
    "get_many": lambda store: list(store.get_many([KEY])),
    "chunk": lambda store: store.chunk(KEY),
    "contains": lambda store: KEY in store,
    "length": len,
    "keys": lambda store: list(store.keys()),
    "table": lambda store: store.table(),
    "names": lambda store: store.names.find("gene"),
    "name": lambda store: store.names.add([Name(name="gene", key=KEY)]),
    "verify": lambda store: store.verify(),
}
#: Those that read the catalog or write it, and no more.
OF_CATALOG = tuple(name for name in CALLS if name != "verify")


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "store", catalog=database_url) as opened:
        opened.put(KEY, example_moments("a"))
        yield opened


def own(error: BaseException) -> bool:
    """Whether it is of covpool and of Python alone."""
    return isinstance(error, StoreError) and all(
        kind.__module__.split(".")[0] in ("covpool", "builtins") for kind in type(error).__mro__
    )


def refused(store: Store, call: str) -> StoreError:
    """What a call is refused with."""
    with pytest.raises(Exception) as caught:
        CALLS[call](store)
    assert isinstance(caught.value, StoreError)
    assert own(caught.value), caught.value
    return caught.value


@pytest.mark.parametrize("call", OF_CATALOG)
def test_a_table_that_is_gone(store: Store, call: str) -> None:
    with store.database.writing() as connection:
        for table in ("subjects", "names", "entries"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    assert isinstance(refused(store, call), CatalogError)


@pytest.mark.parametrize("call", OF_CATALOG)
def test_a_database_that_is_gone(tmp_path: Path, postgres: PostgresServer, call: str) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database())
        store = stack.enter_context(Store.open(tmp_path / "store", catalog=url))
        store.put(KEY, example_moments("a"))
        postgres.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
        assert isinstance(refused(store, call), CatalogError)


@pytest.mark.parametrize("call", ["put", "replace", "name"])
def test_a_database_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(engines, "BUSY_S", 0)
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a"))
        with closing(sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            error = refused(store, call)
    assert isinstance(error, CatalogError)
    assert "database is locked" in str(error)


def test_a_database_whose_disk_is_full(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        # SQLite's own limit gives what a full disk gives.
        with store.database.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(CatalogError, match="database or disk is full"):
            store.names.add(Name(name="x" * 400 + str(number), key=KEY) for number in range(1000))


@pytest.mark.parametrize("call", OF_CATALOG)
def test_a_database_that_was_written_over(tmp_path: Path, call: str) -> None:
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a"))
        # What a connection has read it keeps.
        store.database.close()
        for side in tmp_path.glob("catalog.sqlite-*"):
            side.unlink()
        (tmp_path / "catalog.sqlite").write_bytes(b"tea" * 10_000)
        assert isinstance(refused(store, call), CatalogError)
    for read_only in (False, True):
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path, read_only=read_only)
        assert own(caught.value)


def test_a_constraint(store: Store) -> None:
    def twice(connection: Connection) -> None:
        connection.execute(sa.insert(meta), [{"name": "tea", "value": "1"}] * 2)

    with pytest.raises(CatalogError, match="nothing became readable") as caught:
        store.put(OTHER, example_moments("b"), on_commit=twice)
    assert own(caught.value)
    assert OTHER not in store


def test_a_statement_that_is_wrong(store: Store) -> None:
    for transaction in (store.database.reading, store.database.writing):
        with pytest.raises(CatalogError) as caught, transaction() as connection:
            connection.exec_driver_sql("SELEKT 1")
        assert own(caught.value)


@pytest.mark.parametrize("revision", ["0000", "", "first"])
def test_a_revision_of_nobody(tmp_path: Path, database_url: str, revision: str) -> None:
    Store.open(tmp_path / "store", catalog=database_url).close()
    database = Database.open(database_url)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE store_revision SET version_num = :it"), {"it": revision})
    for refusing in (
        lambda: TABLES.migrate(database),
        lambda: Store.open(tmp_path / "store", catalog=database_url),
        lambda: Store.open(tmp_path / "store", catalog=database_url, read_only=True),
    ):
        with pytest.raises(FormatVersionError) as caught:
            refusing()
        assert own(caught.value)
    database.close()


@pytest.mark.parametrize("column", ["length", "count", "error", "created"])
def test_a_catalog_whose_values_arrow_does_not_take(tmp_path: Path, column: str) -> None:
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a"))
        with store.database.writing() as connection:
            # SQLite keeps whatever it is given.
            connection.exec_driver_sql(f"UPDATE {entries.name} SET {column} = 'tea'")
        error = refused(store, "table")
    assert isinstance(error, CatalogError)
    assert "covpool store rebuild" in str(error)


def metadata(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda before: before | changes


#: What may have become of a `zarr.json`.
DAMAGES: dict[str, Callable[[dict[str, Any]], Any] | str | None] = {
    "gone": None,
    "empty": "",
    "text": "tea",
    "list": lambda _: [],
    "number": lambda _: 3,
    "object": lambda _: {},
    "format": metadata(zarr_format=9),
    "group": metadata(node_type="group"),
    "array": metadata(node_type="array"),
    "no node": metadata(node_type="tea"),
    "data type": metadata(data_type="tea"),
    "codec": metadata(codecs=[{"name": "tea"}]),
    "codecs": metadata(codecs=3),
    "shape": metadata(shape="tea"),
    "negative shape": metadata(shape=[-1]),
    "grid": metadata(chunk_grid={"name": "tea"}),
    "fill value": metadata(fill_value={"tea": 1}),
    "key encoding": metadata(chunk_key_encoding={"name": "tea"}),
    "attributes": metadata(attributes=7),
    "unknown field": metadata(tea={"must_understand": True}),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("of", ["arrays", "namespace", "second_moment", "record"])
def test_array_metadata_that_are_damaged(tmp_path: Path, of: str, damage: str) -> None:
    with Store.open(tmp_path / "store") as store:
        store.put(KEY, example_moments("a"))
        folder = tmp_path / "store" / "arrays"
        namespace = folder / store.entry(KEY).namespace.id
    file = {"arrays": folder, "namespace": namespace}.get(of, namespace / of) / "zarr.json"
    change = DAMAGES[damage]
    if change is None:
        file.unlink()
    else:
        file.write_text(
            change if isinstance(change, str) else json.dumps(change(json.loads(file.read_text())))
        )
    for read_only in (True, False):
        try:
            with Store.open(tmp_path / "store", read_only=read_only) as store:
                for call in (
                    "get",
                    "chunk",
                    "get_many",
                    "verify",
                    *(() if read_only else ("put", "replace")),
                ):
                    try:
                        CALLS[call](store)
                    except Exception as error:
                        assert own(error), (call, error)
        except Exception as error:
            assert own(error), error


def test_damaged_metadata_are_named_with_the_remedy(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a"))
        file = tmp_path / "arrays" / store.entry(KEY).namespace.id / "record" / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"codecs": [{"name": "tea"}]}))
    with (
        Store.open(tmp_path) as store,
        pytest.raises(CorruptEntryError, match="covpool store verify --repair"),
    ):
        store.get(KEY)


def test_an_object_storage_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "RETRIES", 0)
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    with ExitStack() as stack, ExitStack() as running:
        server = running.enter_context(s3_server(tmp_path))
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        location = f"s3://{server.new_bucket()}/genes"
        store = stack.enter_context(Store.open(location, catalog=catalog))
        store.put(KEY, example_moments("a"))
        running.close()
        for call in ("put", "replace", "get", "chunk", "get_many"):
            assert isinstance(refused(store, call), StorageError), call
        reads: tuple[Callable[[], object], ...] = (
            lambda: store.objects.read("tea"),
            lambda: store.objects.exists("tea"),
            lambda: store.objects.write("tea", b""),
            lambda: store.objects.delete("tea"),
            lambda: Store.open(location, catalog=catalog),
            lambda: Store.open(location, catalog=catalog, read_only=True),
        )
        for read in reads:
            with pytest.raises(StorageError) as caught:
                read()
            assert own(caught.value)


def test_arrays_that_are_gone(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put(KEY, example_moments("a"))
        shutil.rmtree(tmp_path / "arrays")
        for call in ("get", "chunk", "get_many"):
            refused(store, call)
