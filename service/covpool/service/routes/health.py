"""Health: alive, and ready to serve."""

import anyio
from fastapi import APIRouter
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from covpool.service.context import Context, Service
from covpool.service.schemas import Health
from covpool.store import CatalogError

router = APIRouter(prefix="/health", tags=["health"])

#: Threads of their own: when every other one is busy, the service is still seen to be there.
_threads = anyio.CapacityLimiter(4)


@router.get("/live", summary="Is the process alive?")
async def live() -> Health:
    """Answers whenever the event loop runs."""
    return Health(status="ok", detail="alive")


@router.get(
    "/ready",
    summary="Can it serve?",
    response_model=Health,
    responses={503: {"model": Health, "description": "database or workers are gone"}},
)
async def ready(context: Service) -> Response:
    """503 while the database does not answer, or every worker that should run is gone."""
    return await anyio.to_thread.run_sync(_ready, context, limiter=_threads)


def _ready(context: Context) -> Response:
    wanted, alive = context.settings.workers, context.supervisor.alive
    try:
        with context.store.catalog.reading() as connection:
            connection.execute(text("SELECT 1"))
    except CatalogError as error:
        return _health(503, f"database: {type(error.__cause__).__name__}")
    if wanted and not alive:
        return _health(503, f"workers: 0 of {wanted} alive")
    return _health(200, f"workers: {alive} of {wanted} alive")


def _health(status: int, detail: str) -> Response:
    body = Health(status="ok" if status == 200 else "unavailable", detail=detail)
    return JSONResponse(body.model_dump(), status)
