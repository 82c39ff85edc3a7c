"""The service's tables: their scripts lead to what the code declares, and tokens outlive an upgrade."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from covpool.service.assemblies.registry import Genomes
from covpool.service.database.tables import TABLES
from covpool.service.database.tokens import Tokens
from covpool.service.queue.tables import TABLES as QUEUE
from covpool.store import FormatVersionError, Store
from covpool.store.database.database import Database
from covpool.store.database.migrations import FIRST, RoomTables


@pytest.mark.parametrize("tables", [TABLES, QUEUE], ids=lambda tables: tables.room)
def test_the_newest_revision_is_that_of_the_scripts_and_they_form_one_line(tables: RoomTables) -> None:
    scripts = ScriptDirectory(str(tables.folder))
    assert scripts.get_heads() == [tables.revision]
    line = [script.revision for script in scripts.walk_revisions()]
    assert line == [f"{number:04}" for number in range(len(line), 0, -1)]


def test_the_scripts_lead_to_the_declared_tables(database_url: str) -> None:
    database = Database.open(database_url)
    with database.writing() as connection:
        TABLES.upgrade(connection)
    ours = {"include_name": lambda name, kind, _: kind != "table" or name in TABLES.metadata.tables}
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), TABLES.metadata) == []
    database.close()


def test_tokens_made_before_revisions_were_recorded_hold_on(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        made = Tokens(store.database).create("someone", ["read"])
        with store.database.writing() as connection:
            connection.execute(sa.text("DROP TABLE service_revision"))
            connection.execute(sa.text("ALTER TABLE genome_genes DROP COLUMN classes"))
            for column in ("circular", "annotation_digest", "release", "report"):
                connection.execute(sa.text(f"ALTER TABLE genomes DROP COLUMN {column}"))
        with pytest.raises(FormatVersionError, match="covpool store migrate"):
            Tokens(store.database)
        assert TABLES.migrate(store.database) == (FIRST, TABLES.revision)
        assert Tokens(store.database).find(made) is not None
        with store.database.reading() as connection:
            assert not sa.inspect(connection).has_table("fits")


def test_tables_of_a_newer_covpool_are_refused(tmp_path: Path, database_url: str) -> None:
    with Store.open(tmp_path, catalog=database_url) as store:
        Tokens(store.database)
        with store.database.writing() as connection:
            connection.execute(sa.text("UPDATE service_revision SET version_num = '9999'"))
        for reader in (Tokens, Genomes):
            with pytest.raises(FormatVersionError, match="upgrade covpool"):
                reader(store.database)
