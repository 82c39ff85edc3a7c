"""Fits of a real covpool 0.1, killed at work: once its database is migrated they go on.

The database was made by `scripts/make_golden_service.py` with the code of commit a06cf8e.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from covpool.service.database.tables import TABLES as SERVICE
from covpool.service.database.tokens import Tokens
from covpool.service.fitting.fits import Fits
from covpool.service.queue import JobQueue, TaskLeases
from covpool.service.queue.tables import TABLES as QUEUE
from covpool.store import FormatVersionError, Store
from covpool.store.commands.group import store as command
from covpool.store.database.database import Database
from tests.service.running import running_service, wait_until

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "service_0_1"
TOKEN = (GOLDEN / "token").read_text()


@pytest.fixture
def old(tmp_path: Path, database_url: str) -> str:
    """A copy of the store in the test's folder; returns the URL of its database, which may be on Postgres."""
    shutil.copytree(GOLDEN / "store", tmp_path, dirs_exist_ok=True)
    if database_url.startswith("postgresql"):
        copy(f"sqlite:///{tmp_path / 'catalog.sqlite'}", database_url)
    return database_url


def copy(source: str, target: str) -> None:
    """Have a database hold the tables and rows of another."""
    one, other, tables = Database.open(source), Database.open(target), sa.MetaData()
    tables.reflect(one.engine)
    for table in tables.sorted_tables:
        for column in table.columns:
            column.type = column.type.as_generic()
    with one.reading() as rows, other.writing() as connection:
        tables.create_all(connection)
        for table in tables.sorted_tables:
            for row in rows.execute(sa.select(table)):
                connection.execute(sa.insert(table), dict(row._mapping))
    one.close()
    other.close()


def test_an_old_database_is_refused_with_the_remedy(tmp_path: Path, old: str) -> None:
    with Store.open(tmp_path, catalog=old) as store:
        opened: tuple[Callable[[Database], object], ...] = (JobQueue, TaskLeases, Fits, Tokens)
        for one in opened:
            with pytest.raises(FormatVersionError, match="covpool store migrate"):
                one(store.database)


def migrated(location: Path, url: str) -> None:
    ran = CliRunner().invoke(command, ["migrate", str(location), "--catalog", url])
    assert ran.exit_code == 0, ran.output
    assert f"queue: 0005 -> {QUEUE.revision}" in ran.output
    assert f"service: 0004 -> {SERVICE.revision}" in ran.output


def test_fits_that_waited_or_ran_are_claimed_and_those_that_ended_stay(tmp_path: Path, old: str) -> None:
    migrated(tmp_path, old)
    with Store.open(tmp_path, catalog=old) as store:
        with store.database.reading() as connection:
            assert not sa.inspect(connection).has_table("fits")
        fits = Fits(store.database)
        assert {name: fits.get(name).state for name in ("done", "refused", "running", "waiting")} == {
            "done": "done",
            "refused": "failed",
            "running": "queued",
            "waiting": "queued",
        }
        assert "cannot fit k=50" in (fits.get("refused").error or "")
        assert list(fits.served()) == ["done"]
        assert fits.served()["done"].shape == (2,)
        leases = TaskLeases(store.database)
        claimed = [task for _ in range(2) for task in leases.claim_fit("w")]
        assert [task.request["name"] for task in claimed] == ["running", "waiting"]
        assert [task.attempts for task in claimed] == [2, 1]
        assert leases.claim_fit("w") == []
        # The same request is the same fit, as it was before.
        assert fits.submit("waiting", claimed[1].request).state == "running"
        token = Tokens(store.database).find(TOKEN)
        assert token is not None and token.name == "someone"


def test_either_room_may_be_migrated_first(tmp_path: Path, old: str) -> None:
    database = Database.open(old)
    for tables in (SERVICE, QUEUE):
        tables.migrate(database)
    assert list(Fits(database).served()) == ["done"]
    assert Fits(database).get("waiting").state == "queued"
    database.close()


@pytest.mark.timeout(240)
def test_a_service_goes_on_where_the_old_one_was_killed(tmp_path: Path) -> None:
    location = tmp_path / "store"
    shutil.copytree(GOLDEN / "store", location)
    migrated(location, f"sqlite:///{location / 'catalog.sqlite'}")
    with (
        running_service(tmp_path) as service,
        httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http,
    ):
        for name in ("running", "waiting"):
            wait_until(lambda: http.get(f"/v1/bottlenecks/{name}").json()["state"] == "done", name)  # noqa: B023
        listed = [bottleneck["name"] for bottleneck in http.get("/v1/bottlenecks").json()["data"]]
        assert {"done", "running", "waiting"} <= set(listed)
        assert "refused" not in listed
        first = http.get("/v1/jobs").json()["data"][-1]
        scores = {
            name: [
                embedding["embedding"]
                for embedding in http.post(
                    "/v1/embeddings", json={"job": first["id"], "bottleneck": name}
                ).json()["data"]
            ]
            for name in ("running", "waiting")
        }
        np.testing.assert_allclose(scores["running"], scores["waiting"], rtol=1e-6)
        wait_until(
            lambda: {job["state"] for job in http.get("/v1/jobs").json()["data"]} == {"done"}, "the jobs"
        )
