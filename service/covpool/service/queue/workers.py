"""Workers: what each reports with every heartbeat, on any host."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from covpool.service.queue.tables import TABLES, workers
from covpool.service.queue.values import WorkerState
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, insert_or_update, seconds

#: Seconds without a heartbeat after which a worker's row is deleted.
FORGOTTEN_S = 86_400.0


class Workers:
    """The workers of one database.

    Args:
        database: the database that they share.
        lease_s: seconds without a heartbeat after which a worker counts as absent.
    """

    def __init__(self, database: Database, *, lease_s: float = 30.0) -> None:
        self._database = with_tables(database, TABLES)
        self._lease_s = lease_s

    def announce(self, worker: WorkerState) -> None:
        """Record what a worker reports of itself, and the time."""
        with self._database.writing() as connection:
            time = seconds(connection)
            report = asdict(worker)
            del report["seen_s"]
            row = report | {"started": time, "seen": time}
            insert_or_update(
                connection, workers, [row], update=[name for name in row if name not in ("name", "started")]
            )
            connection.execute(sa.delete(workers).where(workers.c.seen < time - FORGOTTEN_S))

    def leave(self, worker: str) -> None:
        """Delete the row of a worker that has stopped."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(workers).where(workers.c.name == worker))

    def present(self) -> list[WorkerState]:
        """The workers with a heartbeat within the time of a lease, on every host."""
        with self._database.reading() as connection:
            time = seconds(connection)
            rows = connection.execute(
                sa.select(workers).where(workers.c.seen >= time - self._lease_s).order_by(workers.c.name)
            ).all()
        return [_state(row._asdict(), max(0.0, time - row.seen)) for row in rows]

    def tokens_per_s(self) -> float:
        """Tokens per second of the latest batches, summed over the workers present."""
        return sum(worker.batch_tokens / worker.batch_s for worker in self.present() if worker.batch_s > 0)


def _state(row: dict[str, Any], seen_s: float) -> WorkerState:
    report = {name: value for name, value in row.items() if name not in ("started", "seen")}
    if row["paused"]:
        report["paused_s"] += seen_s
    return WorkerState(**report, seen_s=seen_s)
