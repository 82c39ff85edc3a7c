"""The tables of format 2.0, before revisions were recorded."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "store_meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "namespaces",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("layer", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("dtype", sa.String(16), nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("next_row", sa.Integer, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("namespace", sa.String(32), sa.ForeignKey("namespaces.id"), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.String(64), nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger),
        sa.Column("error", sa.Double),
        sa.Column("checksum", sa.BigInteger),
        sa.Column("created", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_entries_key", "entries", ["key"])
    op.create_index("ix_entries_sequence", "entries", ["sequence"])
    ready = sa.text("state = 'ready'")
    op.create_index(
        "one_ready_row_per_key",
        "entries",
        ["key"],
        unique=True,
        sqlite_where=ready,
        postgresql_where=ready,
    )
