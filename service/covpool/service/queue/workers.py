"""Workers: what each tells of itself with every heartbeat, on whatever host."""

from dataclasses import asdict

import sqlalchemy as sa

from covpool.service.queue.tables import TABLES, workers
from covpool.service.queue.values import WorkerState
from covpool.store.catalog.rooms import with_tables
from covpool.store.database.database import Database, seconds
from covpool.store.database.inserts import insert_or_update

#: Workers not heard of for so long are forgotten.
FORGOTTEN_S = 86_400.0


class Workers:
    """The workers of one database.

    Args:
        database: that they share.
        lease_s: one not heard of for this long is not there.
    """

    def __init__(self, database: Database, *, lease_s: float = 30.0) -> None:
        self._database = with_tables(database, TABLES)
        self._lease_s = lease_s

    def announce(self, worker: WorkerState) -> None:
        """Record that a worker is there, and what it says of itself."""
        with self._database.writing() as connection:
            time = seconds(connection)
            said = asdict(worker)
            del said["seen_s"]
            row = said | {"started": time, "seen": time}
            insert_or_update(
                connection, workers, [row], update=[name for name in row if name not in ("name", "started")]
            )
            connection.execute(sa.delete(workers).where(workers.c.seen < time - FORGOTTEN_S))

    def leave(self, worker: str) -> None:
        """Forget a worker that has stopped."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(workers).where(workers.c.name == worker))

    def present(self) -> list[WorkerState]:
        """The workers heard of within the time of a lease, on every host."""
        with self._database.reading() as connection:
            time = seconds(connection)
            rows = connection.execute(
                sa.select(workers).where(workers.c.seen >= time - self._lease_s).order_by(workers.c.name)
            ).all()
        return [
            WorkerState(
                row.name,
                row.device,
                row.memory_used,
                row.memory_total,
                row.tasks,
                row.tokens,
                row.batches,
                row.busy_s,
                row.batch_tasks,
                row.batch_tokens,
                row.batch_s,
                max(0.0, time - row.seen),
                row.paused,
                row.paused_s + max(0.0, time - row.seen) if row.paused else 0.0,
            )
            for row in rows
        ]

    def tokens_per_s(self) -> float:
        """How fast those present did their latest batches, summed up."""
        return sum(one.batch_tokens / one.batch_s for one in self.present() if one.batch_s > 0)
