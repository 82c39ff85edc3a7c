"""Migrations: made at the newest revision, refused at any other, brought up with every row kept."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner

from covpool.store import FormatVersionError, Name, Store
from covpool.store.catalog.tables import TABLES
from covpool.store.commands.group import store as command
from covpool.store.database.database import Database
from covpool.store.database.migrations import FIRST, RoomTables
from covpool.store.testing import example_key, example_moments
from covpool.store.values.keys import canonical_json, sha256


def at_revision(tmp_path: Path, url: str, revision: str = FIRST, *, recorded: bool = True) -> None:
    """A store with three entries whose tables are of an older revision, whether or not that is recorded."""
    known = TABLES.metadata.tables
    with Store.open(tmp_path, catalog=url) as store:
        for name in "abc":
            store.put(example_key(name), example_moments(name))
        with store.database.reading() as connection:
            rows = {
                table: [dict(row._mapping) for row in connection.execute(sa.select(known[table]))]
                for table in ("store_meta", "namespaces", "entries")
            }
    database = Database.open(url)
    everything = sa.MetaData()
    everything.reflect(database.engine)
    older = RoomTables("store", sa.MetaData(), TABLES.folder, revision)
    with database.writing() as connection:
        everything.drop_all(connection)
        versions = sa.Table("store_revision", sa.MetaData(), sa.Column("version_num", sa.String(32)))
        versions.create(connection)
        older.upgrade(connection)
        if not recorded:
            versions.drop(connection)
        for table, found in rows.items():
            there = sa.Table(table, sa.MetaData(), autoload_with=connection)
            connection.execute(
                sa.insert(there),
                [{column.name: row[column.name] for column in there.columns} for row in found],
            )
    database.close()


def test_a_new_database_is_made_at_the_newest_revision(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store, store.database.reading() as connection:
        assert TABLES.revision_in(connection) == TABLES.revision


def test_the_newest_revision_is_that_of_the_scripts_and_they_form_one_line() -> None:
    scripts = ScriptDirectory(str(TABLES.folder))
    assert scripts.get_heads() == [TABLES.revision]
    line = [script.revision for script in scripts.walk_revisions()]
    assert line == [f"{number:04}" for number in range(len(line), 0, -1)]


@pytest.mark.parametrize("recorded", [True, False])
def test_an_older_database_is_refused_and_migrating_keeps_every_row(
    tmp_path: Path, database_url: str, recorded: bool
) -> None:
    at_revision(tmp_path, database_url, recorded=recorded)
    with pytest.raises(FormatVersionError, match=r"store tables are of revision 0001.*covpool store migrate"):
        Store.open(tmp_path, catalog=database_url)
    ran = CliRunner().invoke(command, ["migrate", "--store", str(tmp_path), "--catalog", database_url])
    assert ran.exit_code == 0, ran.output
    assert f"store: 0001 -> {TABLES.revision}" in ran.output
    with Store.open(tmp_path, catalog=database_url) as store:
        assert len(store) == 3
        for name in "abc":
            assert store.get(example_key(name)).mean.tobytes() == example_moments(name).mean.tobytes()
        store.put(example_key("d"), example_moments("d"))
        assert store.entry(example_key("d")).row == 3
        assert store.verify() == []
    again = CliRunner().invoke(command, ["migrate", "--store", str(tmp_path), "--catalog", database_url])
    assert f"store: {TABLES.revision}\n" in again.output


def test_names_of_an_older_database_lead_where_they_led(tmp_path: Path, database_url: str) -> None:
    at_revision(tmp_path, database_url, "0002")
    place = {"assembly": "K-12", "chrom": "c", "start": 3, "end": 9, "strand": "+"}
    names = [
        Name(name=name, kind=kind, key=example_key(key).digest, **place)  # type: ignore[arg-type]
        for name, kind, key in (("thrA", "symbol", "a"), ("thrA", "symbol", "b"), ("b2", "gene_id", "a"))
    ]
    database = Database.open(database_url)
    with database.writing() as connection:
        there = sa.Table("names", sa.MetaData(), autoload_with=connection)
        for name in names:
            row = {field: value for field, value in asdict(name).items() if field != "also"}
            more = {"id": sha256(canonical_json(row)), "folded": name.name.casefold()}
            connection.execute(sa.insert(there), row | more)
    TABLES.migrate(database)
    database.close()
    with Store.open(tmp_path, catalog=database_url) as store:
        assert {one.entry.key for one in store.names.find("thrA")} == {names[0].key, names[1].key}
        assert store.names.of(example_key("a")) == [names[2], names[0]]
        assert store.names.add(names) == 0


def test_a_migrated_database_has_the_tables_of_a_new_one(tmp_path: Path, database_url: str) -> None:
    at_revision(tmp_path, database_url, recorded=True)
    database = Database.open(database_url)
    TABLES.migrate(database)
    ours = {"include_name": lambda name, kind, _: kind != "table" or name in TABLES.metadata.tables}
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), TABLES.metadata) == []
    database.close()


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_revision(tmp_path, database_url, recorded=True)
    database = Database.open(database_url)
    upgrade = RoomTables.upgrade

    def failing(tables: RoomTables, connection: sa.Connection) -> None:
        upgrade(tables, connection)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(RoomTables, "upgrade", failing)
        with pytest.raises(ZeroDivisionError):
            TABLES.migrate(database)
    with database.reading() as connection:
        assert TABLES.revision_in(connection) == FIRST
        assert not sa.inspect(connection).has_table("names")
    assert TABLES.migrate(database) == (FIRST, TABLES.revision)
    database.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path, database_url: str) -> None:
    Store.open(tmp_path, catalog=database_url).close()
    database = Database.open(database_url)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE store_revision SET version_num = '9999'")
    for refused in (lambda: Store.open(tmp_path, catalog=database_url), lambda: TABLES.migrate(database)):
        with pytest.raises(FormatVersionError, match=r"revision 9999.*upgrade covpool"):
            refused()
    database.close()


def test_migrating_where_there_is_no_store_is_refused_and_makes_none(tmp_path: Path) -> None:
    ran = CliRunner().invoke(command, ["migrate", "--store", str(tmp_path / "typo")])
    assert ran.exit_code != 0
    assert not (tmp_path / "typo").exists()


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path, database_url: str) -> None:
    source = (
        "import sys\n"
        "from covpool.store import Store\n"
        "from covpool.store.store import Store\n"
        "print(flush=True); sys.stdin.readline()\n"
        "Store.open(sys.argv[1], catalog=sys.argv[2]).close()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", source, str(tmp_path), database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_a_store_is_opened_without_importing_alembic(tmp_path: Path) -> None:
    source = (
        "import sys; from covpool.store import Store; "
        "Store.open(sys.argv[1]).close(); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", source, str(tmp_path)], check=True)
