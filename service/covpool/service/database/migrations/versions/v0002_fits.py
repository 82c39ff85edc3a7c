"""Fits asked for over HTTP."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create their table, unless it was made before revisions were recorded."""
    if sa.inspect(op.get_bind()).has_table("fits"):
        return
    op.create_table(
        "fits",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("lease_until", sa.Float),
        sa.Column("error", sa.Text),
        sa.Column("file", sa.LargeBinary),
    )
