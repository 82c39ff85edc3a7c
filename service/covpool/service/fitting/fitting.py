"""One fit in its own process: `python -m covpool.service.fitting.fitting NAME WORKER`; it may die."""

import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from covpool.extractor.fitting.fits import METHODS
from covpool.extractor.fitting.targets import Targets
from covpool.service import logs
from covpool.service.errors import RequestError, ServiceError
from covpool.service.fitting.fits import Fits
from covpool.service.fitting.stored_moments import StoredMoments
from covpool.service.fitting.training_set import keys_of
from covpool.service.opening import open_chosen
from covpool.service.queue import JobQueue
from covpool.service.settings import Settings
from covpool.store.errors import StoreError
from covpool.store.store import Store
from covpool.store.values.keys import Recipe

log = logging.getLogger(__name__)


def fit_to_file(store: Store, request: Mapping[str, Any]) -> bytes:
    """The file of the pooling that a request of `/v1/bottlenecks` asks for.

    Raises:
        ServiceError, StoreError: the fit refuses, or moments are missing.
    """
    recipe = Recipe.from_json(request["recipe"])
    if request["job"] is None:
        found = list(keys_of(store, recipe).values())
        names: list[str] = []
    else:
        records = [one for one in JobQueue(store.database).job(request["job"]).records if one.key]
        found = [store.entry(one.key).moments_key for one in records]
        names = [one.name for one in records]
    source = StoredMoments(lambda: store, found)
    settings = {"k": request["k"], "name": request["name"], **request["settings"]}
    fitted = METHODS[request["method"]].fit(source, _targets(request["targets"], names), **settings)
    with tempfile.TemporaryDirectory(prefix="covpool-fit-") as directory:
        path = Path(directory) / "fit.safetensors"
        fitted.save(path)
        return path.read_bytes()


def main(name: str, worker: str) -> int:
    """Run the leased fit and settle it; returns the exit code."""
    settings = Settings.read()
    logs.configure(settings)
    with open_chosen(settings) as store:
        fits = Fits(store.database, lease_s=settings.lease_s, max_attempts=settings.max_attempts)
        with every(settings.lease_s / 6, lambda: fits.beat(name, worker)):
            try:
                file = fit_to_file(store, fits.one(name).request)
            except (ServiceError, StoreError) as error:
                fits.fail(name, worker, str(error))
                return 1
        fits.finish(name, worker, file)
    return 0


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Run `call` in a thread every so many seconds while the body runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            try:
                call()
            except StoreError as error:
                # The database may be away for a moment; the lease outlives several beats.
                log.warning("no heartbeat: %s", error)

    thread = threading.Thread(target=loop, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _targets(table: Mapping[str, list[float]] | None, names: list[str]) -> Targets | None:
    if table is None:
        return None
    if missing := [name for name in names if name not in table]:
        raise RequestError(f"targets: there is no row for {missing[0]!r}; every record of the job needs one")
    rows = [table[name] for name in names]
    if not rows or len({len(row) for row in rows}) != 1:
        raise RequestError("targets: every record needs the same number of values, and a job to train on")
    return Targets(np.array(rows, np.float64), tuple(f"target {index}" for index in range(len(rows[0]))))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
