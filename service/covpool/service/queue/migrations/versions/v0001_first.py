"""The first tables of the queue: tasks, jobs and their records."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: whoever has these tables is there already."""
