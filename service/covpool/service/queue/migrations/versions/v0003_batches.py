"""Workers report how long they were busy, and of their latest batch."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; a worker that is at work fills them with its next heartbeat."""
    for name, kind in (
        ("busy_s", sa.Float),
        ("batch_tasks", sa.BigInteger),
        ("batch_tokens", sa.BigInteger),
        ("batch_s", sa.Float),
    ):
        op.add_column("workers", sa.Column(name, kind, nullable=False, server_default="0"))
