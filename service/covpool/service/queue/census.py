"""Census: how many tasks there are in each state, and which workers are there."""

from dataclasses import asdict

import sqlalchemy as sa

from covpool.service.queue.tables import insert_or_update, now, tasks, workers
from covpool.service.queue.values import Stats, WorkerState
from covpool.store.catalog.catalog import Catalog

#: Workers not heard of for so long are forgotten.
FORGOTTEN_S = 86_400.0


def stats(catalog: Catalog) -> Stats:
    """See `Queue.stats`."""
    with catalog.reading() as connection:
        time = now(connection)
        rows = connection.execute(
            sa.select(
                tasks.c.state,
                sa.func.count().label("number"),
                sa.func.sum(tasks.c.cost).label("cost"),
                sa.func.min(tasks.c.created).label("oldest"),
            ).group_by(tasks.c.state)
        ).all()
    of_state = {row.state: row for row in rows}

    def age(state: str) -> float:
        return max(0.0, time - of_state[state].oldest) if state in of_state else 0.0

    return Stats(
        {row.state: row.number for row in rows},
        int(of_state["queued"].cost) if "queued" in of_state else 0,
        age("queued"),
        age("running"),
    )


def waiting(catalog: Catalog) -> int:
    """See `Queue.waiting`."""
    with catalog.reading() as connection:
        query = sa.select(sa.func.count()).select_from(tasks).where(tasks.c.state == "queued")
        return connection.scalar(query) or 0


def announce(catalog: Catalog, worker: WorkerState) -> None:
    """See `Queue.announce`."""
    with catalog.writing() as connection:
        time = now(connection)
        said = asdict(worker)
        del said["seen_s"]
        row = said | {"started": time, "seen": time}
        insert_or_update(
            connection, workers, [row], update=[name for name in row if name not in ("name", "started")]
        )
        connection.execute(sa.delete(workers).where(workers.c.seen < time - FORGOTTEN_S))


def leave(catalog: Catalog, worker: str) -> None:
    """See `Queue.leave`."""
    with catalog.writing() as connection:
        connection.execute(sa.delete(workers).where(workers.c.name == worker))


def present(catalog: Catalog, within_s: float) -> list[WorkerState]:
    """See `Queue.workers`."""
    with catalog.reading() as connection:
        time = now(connection)
        rows = connection.execute(
            sa.select(workers).where(workers.c.seen >= time - within_s).order_by(workers.c.name)
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
