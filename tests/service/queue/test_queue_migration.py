"""A queue of the first revision is refused with the remedy, and goes on where it was once migrated."""

import time
import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from covpool.service.queue import JobQueue, TaskLeases
from covpool.service.queue.tables import TABLES
from covpool.store import MomentsKey, Store, sequence_digest
from covpool.store.errors import FormatVersionError
from covpool.store.testing import example_key
from tests.service.queue.test_queue import key_of

RECIPE = example_key("a").recipe
FIRST = (
    "CREATE TABLE tasks (key VARCHAR(64) PRIMARY KEY, state VARCHAR(16) NOT NULL, recipe TEXT NOT NULL, "
    "weights VARCHAR(64) NOT NULL, sequence VARCHAR(64) NOT NULL, length BIGINT NOT NULL, bases {bytes}, "
    "created FLOAT NOT NULL, attempts INTEGER NOT NULL, worker VARCHAR(64), lease_until FLOAT, "
    "tokens_done BIGINT NOT NULL, error TEXT)",
    "CREATE INDEX ix_tasks_state ON tasks (state)",
    "CREATE TABLE jobs (id VARCHAR(64) PRIMARY KEY, recipe TEXT NOT NULL, notices TEXT NOT NULL, "
    "created FLOAT NOT NULL)",
    "CREATE TABLE job_records (job VARCHAR(64) NOT NULL REFERENCES jobs (id), position INTEGER NOT NULL, "
    "name TEXT NOT NULL, key VARCHAR(64) NOT NULL, length BIGINT NOT NULL, PRIMARY KEY (job, position))",
    "CREATE INDEX ix_job_records_key ON job_records (key)",
)


def test_jobs_of_the_first_revision_go_on(tmp_path: Path, database_url: str) -> None:
    key, job = MomentsKey(sequence_digest("ACGT"), 4, RECIPE), "0" * 64
    with Store.open(tmp_path, catalog=database_url) as store:
        blob = "BLOB" if store.database.engine.dialect.name == "sqlite" else "BYTEA"
        with store.database.writing() as connection:
            for statement in FIRST:
                connection.execute(sa.text(statement.format(bytes=blob)))
            connection.execute(
                sa.text(
                    "INSERT INTO tasks VALUES (:key, 'queued', :recipe, :weights, :sequence, 4, :bases, "
                    ":now, 1, NULL, NULL, 0, NULL)"
                ),
                {
                    "key": key.digest,
                    "recipe": RECIPE.to_json(),
                    "weights": RECIPE.weights,
                    "sequence": key.sequence,
                    "bases": zlib.compress(b"ACGT"),
                    "now": time.time(),
                },
            )
            connection.execute(
                sa.text("INSERT INTO jobs VALUES (:job, :recipe, '[]', 1.0)"),
                {"job": job, "recipe": RECIPE.to_json()},
            )
            connection.execute(
                sa.text("INSERT INTO job_records VALUES (:job, 0, 'gene', :key, 4)"),
                {"job": job, "key": key.digest},
            )
        with pytest.raises(FormatVersionError, match="covpool store migrate"):
            JobQueue(store.database)
        assert TABLES.migrate(store.database) == ("0001", TABLES.revision)
        queue, leases = JobQueue(store.database), TaskLeases(store.database)
        (record,) = queue.job(job).records
        assert (record.name, record.state, record.cost) == ("gene", "queued", 4)
        (task,) = leases.claim("w")
        assert (key_of(task.workload), task.workload.text, task.attempts) == (key, "ACGT", 2)
        leases.fail(key.digest, "w", "bad", retry=False)
        assert queue.job(job).state == "failed"
