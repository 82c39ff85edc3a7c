"""Compacted copies are known to the catalog: which are being made, read, or given up."""

import sqlalchemy as sa
from alembic import op

from covpool.store.database.database import now

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Every copy that an entry refers to is in use."""
    copies = op.create_table(
        "copies",
        sa.Column("namespace", sa.String(32), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )
    entries = sa.table("entries", sa.column("namespace"), sa.column("generation"))
    since = sa.literal(now(op.get_bind()), sa.DateTime(timezone=True))
    used = (
        sa.select(entries.c.namespace, entries.c.generation, sa.literal("used"), since)
        .where(entries.c.generation > 0)
        .distinct()
    )
    columns = ["namespace", "generation", "state", "since"]
    op.get_bind().execute(sa.insert(copies).from_select(columns, used))
