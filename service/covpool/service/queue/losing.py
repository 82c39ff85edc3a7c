"""Losing: after a result is lost, no job reports it as done."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from covpool.service.queue.tables import lock, records, tasks
from covpool.service.queue.task_rows import task_row
from covpool.service.queue.values import Request
from covpool.store.database.database import insert_if_absent, seconds
from covpool.store.values.keys import MomentsKey


def lose(connection: Connection, key: MomentsKey, error: str) -> None:
    """Mark a result as lost in all jobs, in the transaction that retires its row."""
    time = seconds(connection)
    of_key = sa.or_(tasks.c.key == key.digest, tasks.c.first_result == key.digest)
    lock(connection, of_key)
    failed = {"state": "failed", "error": error, "tokens_done": 0, "ended": time}
    connection.execute(sa.update(tasks).where(of_key, tasks.c.state == "done").values(failed))
    cost = connection.scalar(sa.select(records.c.cost).where(records.c.key == key.digest).limit(1))
    if cost is not None:
        # A result that was cached at submission has no task yet.
        row = task_row(Request.of_key("", key, "", cost), None, "bulk", time)
        insert_if_absent(connection, tasks, [row | failed])
