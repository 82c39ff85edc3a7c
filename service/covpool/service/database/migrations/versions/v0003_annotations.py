"""What is known of an assembly's annotation: digest, release, circular contigs, repairs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns, empty: registering an assembly again fills them."""
    op.add_column("genomes", sa.Column("circular", sa.Text, nullable=False, server_default="[]"))
    op.add_column("genomes", sa.Column("annotation_digest", sa.String(64)))
    op.add_column("genomes", sa.Column("release", sa.String(255), nullable=False, server_default=""))
    op.add_column("genomes", sa.Column("report", sa.Text, nullable=False, server_default="[]"))
