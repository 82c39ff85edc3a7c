"""Tables of the catalog, as FORMAT.md lists them; a change here needs a revision in `migrations/versions`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from covpool.store.database.migrations import RoomTables

metadata = sa.MetaData()

meta = sa.Table(
    "store_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("layer", sa.Text, nullable=False),
    sa.Column("selection", sa.Text, nullable=False, server_default="whole"),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("dtype", sa.String(16), nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False),
    # A row is handed out only once, so that a writer regarded as dead never writes to another's row.
    sa.Column("next_row", sa.Integer, nullable=False, default=0),
)

RESERVED, READY, RETIRED = "reserved", "ready", "retired"

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("namespace", sa.String(32), sa.ForeignKey("namespaces.id"), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("sequence", sa.String(64), nullable=False, index=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger),
    sa.Column("error", sa.Double),
    sa.Column("checksum", sa.BigInteger),
    sa.Column("created", sa.DateTime(timezone=True)),
)
sa.Index(
    "one_ready_row_per_key",
    entries.c.key,
    unique=True,
    sqlite_where=entries.c.state == READY,
    postgresql_where=entries.c.state == READY,
)

BUILDING, USED, ABANDONED = "building", "used", "abandoned"

#: Compacted copies. An abandoned copy is never used, so that its objects may be deleted.
copies = sa.Table(
    "copies",
    metadata,
    sa.Column("namespace", sa.String(32), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    # While it is being built: the last sign of life of the compaction.
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
)

names = sa.Table(
    "names",
    metadata,
    # Digest of the other columns but `folded`: adding a name twice is adding it once.
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, index=True),
    sa.Column("folded", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("assembly", sa.Text, nullable=False),
    sa.Column("chrom", sa.Text),
    sa.Column("start", sa.BigInteger),
    sa.Column("end", sa.BigInteger),
    sa.Column("strand", sa.String(1)),
    sa.Column("subject", sa.String(64), nullable=False, index=True),
    sa.Index("ix_names_place", "assembly", "chrom", "start"),
)

#: What names lead to: a key, as its own subject, or several that share their names.
subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),
    # No foreign key: a sequence may be named before it is stored.
    sa.Column("key", sa.String(64), primary_key=True, index=True),
    sqlite_with_rowid=False,
)

#: What the store keeps in its database, and the revision this code needs.
TABLES = RoomTables("store", metadata, Path(__file__).parent / "migrations", "0004")


def equal(wanted: "Mapping[sa.Column[Any], object]") -> "list[sa.ColumnElement[bool]]":
    """The conditions that columns have these values; None is no condition."""
    return [column == value for column, value in wanted.items() if value is not None]
