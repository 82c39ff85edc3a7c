"""Tasks may ask for several layers and region classes of their sequence."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; a task without them computes the moments of its own key."""
    op.add_column("tasks", sa.Column("asks", sa.Text))
    op.add_column("tasks", sa.Column("first_result", sa.String(64)))
