"""Health: alive, and ready to serve; and the metrics of both."""

from datetime import UTC, datetime, timedelta

import anyio
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from covpool.service.database.tokens import allow
from covpool.service.http.context import Context, Service
from covpool.service.http.openapi import refusals
from covpool.service.http.storage_watch import ANSWER_S
from covpool.service.schemas import Health
from covpool.store.errors import StoreError

router = APIRouter(tags=["health"])

#: Separate threads: health is answered even when all others are busy.
_threads = anyio.CapacityLimiter(4)


@router.get("/health/live", summary="Is the process alive?")
async def live() -> Health:
    """200 whenever the event loop runs."""
    return Health(status="ok", detail="alive")


@router.get(
    "/health/ready",
    summary="Can it serve?",
    response_model=Health,
    responses={503: {"model": Health, "description": "database, store or every worker is gone"}},
)
async def ready(context: Service) -> Response:
    """503 while database or store do not answer or take no bytes, no worker works, or the service stops.

    A worker whose storage is away, full or read-only pauses and goes on by itself. Where only what is cached
    is served (`ready_without_workers`) the store need not be writable.
    """
    if context.shutdown.begun:
        return _health(503, "stopping")
    with anyio.move_on_after(ANSWER_S):
        return await anyio.to_thread.run_sync(_ready, context, limiter=_threads, abandon_on_cancel=True)
    return _health(503, f"no answer from database and store in {ANSWER_S:g} s")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}},
        **refusals(503),
    },
    dependencies=[allow("read")],
)
async def metrics(context: Service) -> Response:
    """Requests and caches of this process, queue and workers of its database, in the text format."""
    return Response(
        await anyio.to_thread.run_sync(lambda _: context.metrics.exposed(), None, limiter=_threads),
        media_type=CONTENT_TYPE_LATEST,
    )


def _ready(context: Context) -> Response:
    try:
        workers = context.workers.present()
    except StoreError as error:
        return _health(503, f"database: {type(error.__cause__).__name__}")
    if outage := context.storage.look():
        return _health(503, str(outage))
    if context.settings.read_only:
        return _health(200, "read-only: serves what is cached")
    alive, paused = context.supervisor.alive, [worker for worker in workers if worker.paused]
    detail = f"workers: {alive} of {context.settings.workers} here alive, {len(workers)} heard of"
    if paused:
        since = datetime.now(UTC) - timedelta(seconds=max(worker.paused_s for worker in paused))
        detail += f", {len(paused)} paused since {since:%Y-%m-%d %H:%M:%S} UTC: their storage is away or full"
    at_work = len(paused) < len(workers) if workers else bool(alive)
    return _health(200 if at_work or context.settings.ready_without_workers else 503, detail)


def _health(status: int, detail: str) -> Response:
    body = Health(status="ok" if status == 200 else "unavailable", detail=detail)
    return JSONResponse(body.model_dump(), status)
