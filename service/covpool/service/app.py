"""The FastAPI application: routes, errors and the lifetime of store, queue and workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from covpool.service import problems
from covpool.service.context import Context
from covpool.service.offered import Offered
from covpool.service.queue import Queue
from covpool.service.routes import embeddings, health, index, jobs, models, moments
from covpool.service.settings import Settings
from covpool.service.supervisor import Supervisor
from covpool.store.zarr_store import Store


def create_app(settings: Settings | None = None, offered: Offered | None = None) -> FastAPI:
    """The application under these settings; the store opens and the workers start with its lifespan.

    `offered` is read from the settings when it is not given.
    """
    chosen = settings or Settings()
    on_offer = offered or Offered.read(chosen.models, chosen.bottlenecks)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with Store.open(chosen.store, catalog=chosen.catalog) as store:
            queue = Queue(store.catalog, lease_s=chosen.lease_s, max_attempts=chosen.max_attempts)
            supervisor = Supervisor(chosen, queue)
            app.state.context = Context(chosen, store, queue, on_offer, supervisor)
            supervisor.start()
            try:
                yield
            finally:
                await run_in_threadpool(supervisor.stop)

    app = FastAPI(
        title="covpool",
        version=version("covpool"),
        summary="Second moments of genomic foundation model activations, cached, and their embeddings.",
        lifespan=lifespan,
    )
    problems.install(app)
    for route in (embeddings, jobs, moments, index, models, health):
        app.include_router(route.router)
    return app
