"""Tables of the queue: the same on SQLite and Postgres.

A change here needs a revision in `migrations/versions`.

Times are seconds since 1970, by the database's clock. A task's primary key is the key of its result, or the
digest of its several results, so identical requests share it; of a fit it is the digest of its name.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.store.database.migrations import RoomTables

metadata = sa.MetaData()

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    # extraction, or fit of a pooling
    sa.Column("kind", sa.String(16), nullable=False, server_default="extraction"),
    # queued, running; done, failed, quarantined, cancelled
    sa.Column("state", sa.String(16), nullable=False),
    # 0 interactive, 1 bulk
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("recipe_digest", sa.String(64), nullable=False),
    # Of the model it runs; empty where it runs none.
    sa.Column("weights", sa.String(64), nullable=False),
    sa.Column("sequence", sa.String(64), nullable=False),
    # bp
    sa.Column("length", sa.BigInteger, nullable=False),
    # tokens, over all layers and strands
    sa.Column("cost", sa.BigInteger, nullable=False),
    # Layers and selections as JSON, and the key of the first result; null where the task's own key is
    # all it computes. The request, where it is a fit.
    sa.Column("asks", sa.Text),
    sa.Column("first_result", sa.String(64)),
    # The bases themselves, compressed; emptied as soon as the task has ended.
    sa.Column("bases", sa.LargeBinary),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(128)),
    sa.Column("lease_until", sa.Float),
    sa.Column("cancel", sa.Boolean, nullable=False),
    sa.Column("tokens_done", sa.BigInteger, nullable=False),
    # The last error, kept while the task is tried again.
    sa.Column("error", sa.Text),
    # Null while it is queued or running; a task that has ended starts anew when it is submitted again.
    sa.Column("ended", sa.Float),
    sa.Index("tasks_by_lease", "lease_until"),
)
#: Of the tasks of one submission the costliest come first, so that the last ones to end are short.
CLAIM_ORDER = (tasks.c.priority, tasks.c.created, tasks.c.cost.desc(), tasks.c.key)
sa.Index("tasks_in_claim_order", tasks.c.state, *CLAIM_ORDER)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("notices", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("cancelled", sa.Float),
    sa.Index("jobs_by_age", "created", "id"),
)

records = sa.Table(
    "job_records",
    metadata,
    sa.Column("job", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    # Null for a record that was refused; then `error` says why.
    sa.Column("key", sa.String(64), index=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    # Device memory in bytes; null while it is not known.
    sa.Column("memory_used", sa.BigInteger),
    sa.Column("memory_total", sa.BigInteger),
    # Counted since it started.
    sa.Column("tasks", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.BigInteger, nullable=False),
    # Seconds it spent on batches.
    sa.Column("busy_s", sa.Float, nullable=False, server_default="0"),
    # The latest batch: tasks done in it, their tokens, and its seconds.
    sa.Column("batch_tasks", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("batch_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("batch_s", sa.Float, nullable=False, server_default="0"),
    # What it waits for (empty while it works), and for how many seconds so far.
    sa.Column("paused", sa.Text, nullable=False, server_default=""),
    sa.Column("paused_s", sa.Float, nullable=False, server_default="0"),
)

#: Results of fits: safetensors files, by the names of the poolings.
fitted = sa.Table(
    "fitted",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("file", sa.LargeBinary, nullable=False),
)

TABLES = RoomTables("queue", metadata, Path(__file__).parent / "migrations", "0006")
#: SQLite binds at most 32,766 values in one statement.
MOST_VALUES = 10_000


def lock(connection: Connection, which: "sa.ColumnElement[bool]") -> None:
    """Hold tasks until the transaction ends; always in one order, so that no two wait for each other."""
    connection.execute(sa.select(tasks.c.key).where(which).order_by(tasks.c.key).with_for_update())
