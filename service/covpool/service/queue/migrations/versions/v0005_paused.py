"""Workers report that they are paused, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; a worker that is at work fills them with its next heartbeat."""
    op.add_column("workers", sa.Column("paused", sa.Text, nullable=False, server_default=""))
    op.add_column("workers", sa.Column("paused_s", sa.Float, nullable=False, server_default="0"))
