"""The FastAPI application: routes, errors and the lifetime of store, queue and workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.concurrency import run_in_threadpool

from covpool.service.assemblies.registry import Genomes
from covpool.service.database.tokens import Tokens
from covpool.service.fitting.fits import Fits
from covpool.service.http import openapi, problems
from covpool.service.http.body_cache import BodyCache
from covpool.service.http.context import Context
from covpool.service.http.metrics import Metrics
from covpool.service.http.middleware.auth import Auth
from covpool.service.http.middleware.rates import Rates
from covpool.service.http.middleware.request_context import RequestContext
from covpool.service.http.reading import only_known
from covpool.service.http.routes import (
    bottlenecks,
    docs,
    embeddings,
    events,
    genomes,
    health,
    index,
    jobs,
    models,
    moments,
    zarr_files,
)
from covpool.service.http.shutdown import Shutdown
from covpool.service.http.storage_watch import StorageWatch
from covpool.service.processes.supervisor import Supervisor
from covpool.service.queue import JobQueue, TaskLeases, Workers
from covpool.service.settings import Settings
from covpool.service.submission.served import Served
from covpool.store.threads import one_thread


def create_app(
    settings: Settings | None = None, served: Served | None = None, shutdown: Shutdown | None = None
) -> FastAPI:
    """The application under these settings; the store opens and the workers start with its lifespan.

    `served` is read from the settings by default. The server's program begins the `shutdown`.
    """
    chosen = settings or Settings()
    stopping = shutdown or Shutdown(chosen.shutdown_s)
    metrics = Metrics()
    all_served = served or Served.read(chosen.models, chosen.bottlenecks)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Requests run in parallel here, each on one BLAS thread.
        with one_thread(), chosen.open_store() as store:
            queue, workers = JobQueue(store.database), Workers(store.database, lease_s=chosen.lease_s)
            leases = TaskLeases(store.database, lease_s=chosen.lease_s, max_attempts=chosen.max_attempts)
            fits = Fits(store.database)
            supervisor = Supervisor(chosen, leases, workers)
            assemblies = Genomes(store.database)
            storage = StorageWatch(store, write=not (store.read_only or chosen.ready_without_workers))
            app.state.context = Context(
                chosen,
                store,
                queue,
                workers,
                fits,
                replace(all_served, fitted=fits.served),
                supervisor,
                Tokens(store.database),
                assemblies,
                BodyCache(chosen.body_cache),
                metrics,
                stopping,
                storage,
            )
            metrics.watch(queue, workers, storage)
            supervisor.start()
            try:
                yield
            finally:
                await run_in_threadpool(supervisor.stop)
                assemblies.close()

    app = FastAPI(
        title="covpool",
        version=version("covpool"),
        summary="Second moments of genomic foundation model activations, cached, and their embeddings.",
        lifespan=lifespan,
        dependencies=[Depends(only_known)],
        # FastAPI's own pages load scripts from other hosts; see `routes.docs`.
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    openapi.install(app)
    # The middleware added last is the outermost.
    app.add_middleware(Auth, max_body=chosen.max_body, rates=Rates(chosen.rate_per_minute))
    if chosen.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Prefer", "Last-Event-ID", "Range"],
            expose_headers=[
                "ETag",
                "Location",
                "Retry-After",
                "Preference-Applied",
                "X-Request-Id",
                "Covpool-Count",
            ],
        )
    app.add_middleware(RequestContext, metrics=metrics)
    for route in (
        embeddings,
        jobs,
        events,
        moments,
        index,
        models,
        bottlenecks,
        genomes,
        zarr_files,
        health,
        docs,
    ):
        app.include_router(route.router)
    return app
