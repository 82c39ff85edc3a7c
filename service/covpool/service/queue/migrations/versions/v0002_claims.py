"""Priorities, costs, cancellation and quarantine; records that were refused; workers."""

import sqlalchemy as sa
from alembic import op

from covpool.store.values.keys import Recipe

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, filled from the recipes, the indexes and the table of workers."""
    op.drop_index("ix_tasks_state", "tasks")
    op.add_column("tasks", sa.Column("priority", sa.SmallInteger, nullable=False, server_default="1"))
    op.add_column("tasks", sa.Column("recipe_digest", sa.String(64), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("cost", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("cancel", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("tasks", sa.Column("ended", sa.Float))
    op.create_index("tasks_in_claim_order", "tasks", ["state", "priority", "created", "key"])
    op.create_index("tasks_by_lease", "tasks", ["lease_until"])
    op.add_column("jobs", sa.Column("cancelled", sa.Float))
    op.create_index("jobs_by_age", "jobs", ["created", "id"])
    with op.batch_alter_table("job_records") as records:
        records.add_column(sa.Column("cost", sa.BigInteger, nullable=False, server_default="0"))
        records.add_column(sa.Column("error", sa.Text))
        records.alter_column("key", existing_type=sa.String(64), nullable=True)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("memory_used", sa.BigInteger),
        sa.Column("memory_total", sa.BigInteger),
        sa.Column("tasks", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
    )
    _fill()


def _fill() -> None:
    connection = op.get_bind()
    tasks = sa.table(
        "tasks", *map(sa.column, ("recipe", "recipe_digest", "cost", "length", "state", "ended"))
    )
    jobs = sa.table("jobs", sa.column("id"), sa.column("recipe"))
    records = sa.table("job_records", *map(sa.column, ("job", "cost", "length")))
    for (text,) in connection.execute(sa.select(tasks.c.recipe).distinct()).all():
        recipe = Recipe.from_json(text)
        connection.execute(
            sa.update(tasks)
            .where(tasks.c.recipe == text)
            .values(recipe_digest=recipe.digest, cost=_strands(recipe) * tasks.c.length)
        )
    for job, text in connection.execute(sa.select(jobs.c.id, jobs.c.recipe)).all():
        cost = _strands(Recipe.from_json(text)) * records.c.length
        connection.execute(sa.update(records).where(records.c.job == job).values(cost=cost))
    # Tasks that had ended say so, or they could not be submitted again.
    connection.execute(sa.update(tasks).where(tasks.c.state.in_(("done", "failed"))).values(ended=0.0))


def _strands(recipe: Recipe) -> int:
    return 2 if recipe.strand == "both" else 1
