"""The application in this process, without workers: for what concerns requests alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from covpool.service.http.app import create_app
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.store import Store
from covpool.store.testing import example_key, example_moments

#: Read once: describing models reads their weights' digests.
SERVED = Served.read()


@contextmanager
def in_process(directory: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of the application over `directory`."""
    chosen = Settings(store=str(directory), workers=0, **settings)
    with TestClient(create_app(chosen, SERVED), base_url="http://127.0.0.1") as client:
        yield client


def fill(directory: Path, *names: str, width: int = 8) -> list[str]:
    """Put example moments into the store at `directory`; returns their keys."""
    with Store.open(directory) as store:
        for name in names:
            store.put(example_key(name), example_moments(name, width))
    return [example_key(name).digest for name in names]
