"""A real service for tests: `covpool serve` on a free port, as a process of its own with its worker."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

COVPOOL = str(Path(sys.executable).parent / "covpool")
START_S = 60.0


@dataclass(frozen=True)
class Running:
    """A running service: its address, store directory, log and API process."""

    url: str
    store: Path
    log: Path
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """The worker processes that run now."""
        return [child for child in self.process.children() if child.status() != psutil.STATUS_ZOMBIE]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the service's own database."""
        with closing(sqlite3.connect(self.store / "catalog.sqlite", timeout=30)) as connection:
            return connection.execute(query, values).fetchall()


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without COVPOOL_ variables, with these settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("COVPOOL_")}
    chosen = {f"COVPOOL_{name.upper()}": value for name, value in settings.items()}
    return ours | {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"} | chosen


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Poll until `true()`; fail with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


@contextmanager
def running_service(directory: Path, location: str | None = None, **settings: str) -> Iterator[Running]:
    """A ready service over `location`, or `directory/store`; afterwards neither it nor a worker is left."""
    log = directory / "service.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [COVPOOL, "serve", "--store", location or str(directory / "store"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(**settings),
            text=True,
        )
    family = [psutil.Process(process.pid)]
    with process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            assert found is not None, log.read_text()
            running = Running(found.group(), directory / "store", log, family[0])
            wait_until(lambda: ready(running.url), "the service to be ready")
            yield running
        finally:
            if process.poll() is None:
                family += family[0].children(recursive=True)
                process.terminate()
            _, left = psutil.wait_procs(family, timeout=30)
            for one in left:
                one.kill()
    assert not left, f"still running after shutdown: {left}"


def ready(url: str) -> bool:
    """Whether the service says it is ready."""
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
