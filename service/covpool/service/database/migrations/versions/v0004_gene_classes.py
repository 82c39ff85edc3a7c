"""Genes have the selections of their bases: no request has to read an annotation."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, empty: registering an assembly again fills it."""
    op.add_column("genome_genes", sa.Column("classes", sa.Text))
