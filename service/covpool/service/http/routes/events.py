"""Events: a job's progress as server-sent events (WHATWG HTML, 9.2), until it has ended.

The id of an event encodes the progress it reports. A client that reconnects with `Last-Event-ID` receives
only what is new, and always the end. Comments keep idle connections open.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from covpool.service import schemas
from covpool.service.database.tokens import allow
from covpool.service.http.context import Service
from covpool.service.http.openapi import refusals
from covpool.service.queue import Progress

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[allow("read")])

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `progress`, then one `end`; the data of both is a JobProgress",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


async def _known(job: str, context: Service) -> str:
    """The id of a job that exists: after a stream has begun, it cannot be refused."""
    await run_in_threadpool(context.queue.progress, job)
    return job


@router.get(
    "/{job}/events",
    summary="Progress of a job as it happens",
    response_class=EventSourceResponse,
    responses=_STREAM | refusals(404),
)
async def events(
    job: Annotated[str, Depends(_known)],
    context: Service,
    last_event_id: Annotated[str | None, Header(description="go on after this event")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """An event whenever the job has moved on, the last of them `end`; the stream ends with the job."""
    last_sent, pause = last_event_id, _FIRST_PAUSE_S
    while True:
        progress = await run_in_threadpool(context.queue.progress, job)
        rate = 0.0 if progress.ended else await run_in_threadpool(context.workers.tokens_per_s)
        body = _body(job, progress, rate)
        name = f"{body.state}-{body.records_done}-{body.records_failed}-{body.tokens_done}"
        if progress.ended:
            yield ServerSentEvent(data=body, event="end", id=name)
            return
        if name != last_sent:
            last_sent, pause = name, _FIRST_PAUSE_S
            yield ServerSentEvent(data=body, event="progress", id=name, retry=1000)
        if context.shutdown.begun:
            # Clients reconnect to the next process with the id of the last event.
            return
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_S)


def _body(job: str, progress: Progress, tokens_per_s: float) -> schemas.JobProgress:
    return schemas.JobProgress(
        job=job,
        state=progress.state,
        tokens=progress.tokens,
        tokens_done=progress.tokens_done,
        eta_s=progress.eta_s(tokens_per_s),
        records=progress.records,
        records_done=progress.records_done,
        records_failed=progress.records_failed,
    )
