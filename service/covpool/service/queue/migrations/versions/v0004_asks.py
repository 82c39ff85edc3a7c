"""Tasks may ask for several layers and selections of their sequence; the costliest are claimed first."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns, without which a task computes the moments of its own key; index the new order."""
    op.add_column("tasks", sa.Column("asks", sa.Text))
    op.add_column("tasks", sa.Column("first_result", sa.String(64)))
    op.drop_index("tasks_in_claim_order", "tasks")
    op.create_index(
        "tasks_in_claim_order", "tasks", ["state", "priority", "created", sa.text("cost DESC"), "key"]
    )
