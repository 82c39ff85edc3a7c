"""Context: settings and resources of every route, built once per process; a FastAPI dependency."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from covpool.service.assemblies.registry import Genomes
from covpool.service.database.tokens import Tokens
from covpool.service.fitting.fits import Fits
from covpool.service.http.body_cache import BodyCache
from covpool.service.http.metrics import Metrics
from covpool.service.http.shutdown import Shutdown
from covpool.service.http.storage_watch import StorageWatch
from covpool.service.processes.supervisor import Supervisor
from covpool.service.queue import JobQueue, Workers
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.store.store import Store


@dataclass(frozen=True)
class Context:
    """Settings and open resources of a running service."""

    settings: Settings
    store: Store
    queue: JobQueue
    workers: Workers
    fits: Fits
    served: Served
    supervisor: Supervisor
    tokens: Tokens
    genomes: Genomes
    bodies: BodyCache
    metrics: Metrics
    shutdown: Shutdown
    storage: StorageWatch


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Service = Annotated[Context, Depends(_context)]
