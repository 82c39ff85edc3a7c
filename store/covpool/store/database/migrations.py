"""Migrations: the tables of a room, the revision at which a database holds them, and the way to the newest.

Convention: revisions are Alembic scripts in a folder `versions`, numbered "0001", "0002" and
so on. A new database is made at the newest; an older one is refused until `covpool store migrate` is run.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.database.database import Database, advisory_lock
from covpool.store.errors import FormatVersionError

FIRST = "0001"


@dataclass(frozen=True)
class RoomTables:
    """The tables that one room keeps in a database.

    Attributes:
        room: name of the room; the revision stands in the table `<room>_revision`.
        metadata: the tables as the newest revision leaves them.
        folder: where the folder `versions` with the Alembic scripts lies.
        revision: the newest revision, which this code needs.
    """

    room: str
    metadata: sa.MetaData
    folder: Path
    revision: str

    def ensure(self, database: Database) -> None:
        """Make the tables in a database that has none of them; refuse those of another revision.

        Any number of processes may do so at once. In one that is open for reading only nothing is made.

        Raises:
            FormatVersionError: the tables are of an older or a newer revision, with the remedy.
            CatalogError: the database cannot be reached, or refused.
            ReadOnlyError: there are none, and none can be made.
        """
        with database.reading() as connection:
            revision = self.revision_in(connection)
        if revision is None:
            with database.writing() as connection:
                self._lock(connection)
                revision = self.revision_in(connection)
                if revision is None:
                    self.metadata.create_all(connection)
                    self._stamp(connection, self.revision)
                    return
        if revision == self.revision:
            return
        remedy = (
            "run `covpool store migrate` (with --catalog, where the store has one) after making a backup"
            if revision < self.revision
            else "upgrade covpool"
        )
        raise FormatVersionError(
            f"database {database.name}: its {self.room} tables are of revision {revision}, this covpool "
            f"needs {self.revision}; {remedy}"
        )

    def revision_in(self, connection: Connection) -> str | None:
        """The revision of the tables in the database; None without tables."""
        names = set(sa.inspect(connection).get_table_names())
        recorded = sa.select(self._versions.c.version_num)
        if self._versions.name in names and (version := connection.scalar(recorded)) is not None:
            return str(version)
        # Before revisions were recorded there was only the first.
        return FIRST if names & set(self.metadata.tables) else None

    def migrate(self, database: Database) -> tuple[str | None, str | None]:
        """Bring the tables there to the newest revision, all the way or not at all.

        Returns:
            The revision before and after; (None, None) when there are no such tables.

        Raises:
            FormatVersionError: the tables are of a newer revision.
            CatalogError: the database cannot be reached, or refused; nothing was changed.
        """
        with database.writing() as connection:
            self._lock(connection)
            before = self.revision_in(connection)
            if before is not None and before < self.revision:
                if not sa.inspect(connection).has_table(self._versions.name):
                    self._stamp(connection, before)
                self.upgrade(connection)
        if before is not None:
            self.ensure(database)
        return before, before and self.revision

    def upgrade(self, connection: Connection) -> None:
        """Run the scripts from the recorded revision to the newest, in the transaction of `connection`.

        Raises:
            FormatVersionError: no script made the recorded revision.
        """
        # Imported here: opening a store needs no Alembic.
        from alembic.config import Config
        from alembic.runtime.environment import EnvironmentContext
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory(str(self.folder))
        revision = self.revision_in(connection)
        if revision not in (None, *(script.revision for script in scripts.walk_revisions())):
            raise FormatVersionError(
                f"its {self.room} tables are of revision {revision!r}, which no covpool "
                "made; restore a backup"
            )
        environment = EnvironmentContext(
            Config(),
            scripts,
            fn=lambda revision, _: scripts._upgrade_revs(self.revision, revision),
            destination_rev=self.revision,
        )
        with environment:
            environment.configure(connection=connection, version_table=self._versions.name)
            environment.run_migrations()

    @cached_property
    def _versions(self) -> sa.Table:
        column = sa.Column("version_num", sa.String(32), primary_key=True)
        return sa.Table(f"{self.room}_revision", sa.MetaData(), column)

    def _stamp(self, connection: Connection, revision: str) -> None:
        self._versions.create(connection)
        connection.execute(sa.insert(self._versions).values(version_num=revision))

    def _lock(self, connection: Connection) -> None:
        advisory_lock(connection, f"covpool {self.room} tables")
