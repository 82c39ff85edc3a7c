"""Shared fixtures: one real service (API process and worker) for all tests that only ask it things."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from covpool.clients import Client
from tests.postgres import PostgresServer, postgres_server
from tests.s3 import S3Server, s3_server
from tests.service.running import Running, running_service

EXAMPLES = Path(__file__).parent.parent / "examples"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Binary data are no id: packed ones hold the time, and two collecting processes must agree on ids."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(scope="session", autouse=True)
def own_cache_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Digests of the tests' weight files are not remembered in the user's home, here or in subprocesses."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres server, shared by the session."""
    with postgres_server() as found:
        yield found


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh Postgres database."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind; SQLite lies where a store in `tmp_path` has its own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3-compatible server, shared by the session."""
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with this process's environment (and its subprocesses') set to speak to it."""
    for name, value in s3_process.environment.items():
        monkeypatch.setenv(name, value)
    return s3_process


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with one worker over a new store, shared by the session; it is gone afterwards."""
    with running_service(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="session")
def http(service: Running) -> Iterator[httpx.Client]:
    """Plain HTTP to the shared service."""
    with httpx.Client(base_url=service.url, timeout=60) as found:
        yield found


@pytest.fixture(scope="session")
def client(service: Running) -> Iterator[Client]:
    """Our client to the shared service."""
    with Client(service.url) as found:
        yield found


@pytest.fixture(scope="session")
def genes() -> Path:
    """FASTA of real E. coli K-12 genes."""
    return EXAMPLES / "ecoli_genes.fa"
