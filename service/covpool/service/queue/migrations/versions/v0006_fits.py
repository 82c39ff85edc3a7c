"""Fits are tasks of the queue; their files lie in a table of its own."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from covpool.store.values.keys import canonical_json, sha256

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add kind and files; take over the fits that the service kept with leases of their own."""
    op.add_column("tasks", sa.Column("kind", sa.String(16), nullable=False, server_default="extraction"))
    op.create_table(
        "fitted",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("file", sa.LargeBinary, nullable=False),
    )
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("fits"):
        return
    fits, tasks, fitted = (
        sa.Table(name, sa.MetaData(), autoload_with=connection) for name in ("fits", "tasks", "fitted")
    )
    for fit in connection.execute(sa.select(fits)).all():
        connection.execute(sa.insert(tasks).values(_task(fit)))
        if fit.state == "done":
            connection.execute(sa.insert(fitted).values(name=fit.name, file=fit.file))
    op.drop_table("fits")


def _task(fit: Any) -> dict[str, object]:
    key, ended = sha256(canonical_json(["fit", fit.name])), fit.state in ("done", "failed")
    return {
        "key": key,
        "kind": "fit",
        # Whoever ran it had a lease that counts no more.
        "state": "queued" if fit.state == "running" else fit.state,
        "priority": 0,
        "created": fit.created,
        "recipe": json.loads(fit.request)["recipe"],
        "recipe_digest": key,
        "weights": "",
        "sequence": "",
        "length": 0,
        "cost": 0,
        "asks": fit.request,
        "attempts": fit.attempts,
        "cancel": False,
        "tokens_done": 0,
        "error": fit.error,
        "ended": fit.created if ended else None,
    }
