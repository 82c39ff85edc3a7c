"""Names lead to keys, and namespaces tell the token selection of their recipe."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table and the column, filled from the recipes."""
    op.create_table(
        "names",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("assembly", sa.Text, nullable=False),
        sa.Column("chrom", sa.Text),
        sa.Column("start", sa.BigInteger),
        sa.Column("end", sa.BigInteger),
        sa.Column("strand", sa.String(1)),
        sa.Column("key", sa.String(64), nullable=False),
    )
    op.create_index("ix_names_name", "names", ["name"])
    op.create_index("ix_names_folded", "names", ["folded"])
    op.create_index("ix_names_key", "names", ["key"])
    op.create_index("ix_names_place", "names", ["assembly", "chrom", "start"])
    op.add_column("namespaces", sa.Column("selection", sa.Text, nullable=False, server_default="whole"))
    namespaces = sa.table("namespaces", sa.column("id"), sa.column("recipe"), sa.column("selection"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(namespaces.c.id, namespaces.c.recipe)).all():
        connection.execute(
            sa.update(namespaces)
            .where(namespaces.c.id == row.id)
            .values(selection=json.loads(row.recipe)["selection"])
        )
