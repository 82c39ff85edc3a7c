"""Borders of the service: of SQLAlchemy callers see no error but ours, and over HTTP a problem."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from covpool.service.assemblies.registry import Genomes
from covpool.service.database.tables import TABLES as SERVICE
from covpool.service.database.tokens import Tokens
from covpool.service.fitting.fits import Fits
from covpool.service.queue import JobQueue, TaskLeases, Workers, WorkerState
from covpool.service.queue.tables import TABLES as QUEUE
from covpool.store import CatalogError, Store
from covpool.store.database.database import Database
from covpool.store.testing import example_key
from tests.postgres import PostgresServer
from tests.service.in_process import in_process

RECIPE = example_key("a").recipe
REQUEST = {"name": "f", "recipe": RECIPE.to_json()}
#: What is asked of the tables, by who asks.
CALLS: dict[str, tuple[Callable[..., object], ...]] = {
    "JobQueue": (
        lambda queue: queue.submit(RECIPE, []),
        lambda queue: queue.job("0" * 64),
        lambda queue: queue.summary("0" * 64),
        lambda queue: queue.jobs(10),
        lambda queue: queue.progress("0" * 64),
        lambda queue: queue.cancel("0" * 64),
        lambda queue: queue.stats(),
        lambda queue: queue.waiting(),
    ),
    "TaskLeases": (
        lambda leases: leases.claim("w"),
        lambda leases: leases.heartbeat("w", {"k": 1}),
        lambda leases: leases.fail("k", "w", "bad", retry=True),
        lambda leases: leases.fail("k", "w", "bad", retry=False),
        lambda leases: leases.give_back("w", ["k"]),
        lambda leases: leases.release("w"),
        lambda leases: leases.sweep(),
    ),
    "Workers": (
        lambda workers: workers.announce(WorkerState("w")),
        lambda workers: workers.leave("w"),
        lambda workers: workers.present(),
        lambda workers: workers.tokens_per_s(),
    ),
    "Fits": (
        lambda fits: fits.submit("f", REQUEST),
        lambda fits: fits.get("f"),
        lambda fits: fits.file("f"),
        lambda fits: fits.served(fresh=True),
    ),
    "Tokens": (
        lambda tokens: tokens.create("someone", ["read"]),
        lambda tokens: tokens.revoke("someone"),
        lambda tokens: tokens.all(),
        lambda tokens: tokens.find("covpool_"),
    ),
    "Genomes": (
        lambda genomes: genomes.all(),
        lambda genomes: genomes.get("g"),
        lambda genomes: genomes.genes("g"),
        lambda genomes: genomes.gene("g", "lacZ"),
        lambda genomes: list(genomes.known_genes("g")),
        lambda genomes: genomes.remove("g"),
    ),
}
TYPES: dict[str, Callable[[Database], object]] = {
    one.__name__: one for one in (JobQueue, TaskLeases, Workers, Fits, Tokens, Genomes)
}


def assert_refused(made: object, calls: tuple[Callable[..., object], ...]) -> None:
    for call in calls:
        with pytest.raises(CatalogError) as caught:
            call(made)
        modules = {kind.__module__.split(".")[0] for kind in type(caught.value).__mro__}
        assert modules <= {"covpool", "builtins"}


@pytest.mark.parametrize("name", TYPES)
def test_tables_that_are_gone(tmp_path: Path, database_url: str, name: str) -> None:
    with Store.open(tmp_path / "store", catalog=database_url) as store:
        made = TYPES[name](store.database)
        with store.database.writing() as connection:
            for tables in (QUEUE, SERVICE):
                known = set(sa.inspect(connection).get_table_names())
                for table in reversed(tables.metadata.sorted_tables):
                    if table.name in known:
                        connection.execute(sa.schema.DropTable(table))
        assert_refused(made, CALLS[name])


@pytest.mark.parametrize("name", TYPES)
def test_a_database_that_is_gone(tmp_path: Path, postgres: PostgresServer, name: str) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database())
        store = stack.enter_context(Store.open(tmp_path / "store", catalog=url))
        made = TYPES[name](store.database)
        postgres.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
        assert_refused(made, CALLS[name])


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[TestClient]:
    """A service whose tables were dropped while it runs."""
    with in_process(tmp_path) as api:
        database = api.app.state.context.store.database  # type: ignore[attr-defined]
        with database.writing() as connection:
            for table in ("job_records", "jobs", "tasks", "fitted", "workers", "genomes", "entries"):
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                connection.exec_driver_sql(f"DROP TABLE {table}")
        yield api


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/jobs", {"input": "ACGT"}),
        ("POST", "/v1/embeddings", {"input": "ACGT"}),
        ("GET", "/v1/jobs", None),
        ("GET", f"/v1/jobs/{'0' * 64}", None),
        ("DELETE", f"/v1/jobs/{'0' * 64}", None),
        ("GET", f"/v1/moments/{'0' * 64}", None),
        ("GET", "/v1/index", None),
        ("GET", "/v1/bottlenecks", None),
        ("GET", "/v1/bottlenecks/f", None),
        ("GET", "/v1/bottlenecks/f/file", None),
        ("POST", "/v1/bottlenecks", {"name": "f", "method": "root-pca", "k": 1}),
        ("GET", "/v1/genomes", None),
    ],
)
def test_over_http_it_is_a_problem_that_names_no_library(
    broken: TestClient, method: str, path: str, body: object
) -> None:
    answer = broken.request(method, path, json=body)
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "sqlalchemy" not in answer.text.lower()
