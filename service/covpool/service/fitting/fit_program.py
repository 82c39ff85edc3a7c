"""Fit program: one fit in its own process, which may load torch and may die; the child of `FitEngine`.

It receives the request of the fit, and answers with a file or a fault. It ends when its parent ends.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from covpool.extractor.fitting.fits import METHODS
from covpool.extractor.fitting.targets import Targets
from covpool.service.errors import RequestError, ServiceError
from covpool.service.fitting.training_set import StoredMoments, keys_of
from covpool.service.processes.child import serve_parent
from covpool.service.processes.faults import Fault, InputFault, UnforeseenFault, fault_of
from covpool.service.queue import JobQueue
from covpool.store.errors import StoreError
from covpool.store.outages import is_outage
from covpool.store.store import Store
from covpool.store.values.keys import Recipe

log = logging.getLogger(__name__)


def fit_to_file(store: Store, request: Mapping[str, Any]) -> bytes:
    """The file of the pooling that a request of `/v1/bottlenecks` asks for.

    Raises:
        ServiceError, FitError, StoreError: the request does not fit, or moments are missing.
    """
    recipe = Recipe.from_json(request["recipe"])
    if request["job"] is None:
        keys = list(keys_of(store, recipe).values())
        names: list[str] = []
    else:
        records = [record for record in JobQueue(store.database).job(request["job"]).records if record.key]
        keys = [store.entry(record.key).moments_key for record in records]
        names = [record.name for record in records]
    source = StoredMoments(lambda: store, keys)
    settings = {"k": request["k"], "name": request["name"], **request["settings"]}
    fitted = METHODS[request["method"]].fit(source, _targets(request["targets"], names), **settings)
    with tempfile.TemporaryDirectory(prefix="covpool-fit-") as directory:
        path = Path(directory) / "fit.safetensors"
        fitted.save(path)
        return path.read_bytes()


def _targets(table: Mapping[str, list[float]] | None, names: list[str]) -> Targets | None:
    if table is None:
        return None
    if missing := [name for name in names if name not in table]:
        raise RequestError(f"targets: there is no row for {missing[0]!r}; every record of the job needs one")
    rows = [table[name] for name in names]
    if not rows or len({len(row) for row in rows}) != 1:
        raise RequestError("targets: every record needs the same number of values, and a job to train on")
    return Targets(np.array(rows, np.float64), tuple(f"target {index}" for index in range(len(rows[0]))))


def _fault_of(error: Exception) -> Fault:
    """The fault of an error: missing data is the input's fault, an outage is not."""
    if isinstance(error, ServiceError | StoreError) and not is_outage(error):
        return InputFault(str(error))
    fault = fault_of(error)
    if isinstance(fault, UnforeseenFault):
        log.exception("a fit failed")
    return fault


def _end_with_parent(received: Iterator[object]) -> None:
    for _ in received:
        pass
    os._exit(0)


def main() -> None:
    """Serve the parent, under the settings of the environment."""
    messages, settings = serve_parent()
    received = messages.receive()
    (request,) = next(received)
    threading.Thread(target=_end_with_parent, args=(received,), name="listen", daemon=True).start()
    try:
        with settings.open_store() as store:
            file = fit_to_file(store, request)
    except Exception as error:
        messages.send("fault", _fault_of(error))
    else:
        messages.send("file", file)


if __name__ == "__main__":
    main()
