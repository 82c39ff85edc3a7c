"""Jobs: submit sequences or a FASTA file, look at progress, cancel."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from covpool.service import schemas
from covpool.service.database.tokens import allow
from covpool.service.errors import QueueFullError
from covpool.service.http.context import Context, Service
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json_or_fasta
from covpool.service.http.responses.answers import After, deprecated, deprecations, job_body
from covpool.service.http.responses.waiting import Preferred, wait_for
from covpool.service.queue import Job, Priority, RejectedRecord
from covpool.service.submission.records import sequences_of
from covpool.service.submission.served import DEFAULT
from covpool.service.submission.submission import Submission, prepare

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    summary="Submit sequences",
    response_model=schemas.Job,
    responses={
        202: {"model": schemas.Job, "description": "Accepted; follow Location"},
        **refusals(400, 404, 409, 415),
    },
    openapi_extra=body_of(schemas.JobRequest, upload=True),
    dependencies=[allow("submit")],
)
async def submit(request: Request, context: Service, prefer: Preferred) -> Response:
    """Queue what is not cached. 200 if everything is, else 202; the same request is the same job."""
    body, upload = await read_json_or_fasta(request, schemas.JobRequest)
    job = await run_in_threadpool(_submit, body, upload, context)
    current = await wait_for(context, job, prefer.seconds(default=0))
    answer = await run_in_threadpool(job_response, current, context, deprecations(body))
    return prefer.applied(deprecated(body, answer))


@router.get("", summary="Latest jobs", responses=refusals(404), dependencies=[allow("read")])
def latest(
    context: Service,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=100, description="jobs of a page")] = 20,
) -> schemas.JobPage:
    """The latest jobs without their records, newest first."""
    listed = context.queue.jobs(limit + 1, after)
    rate = context.workers.tokens_per_s()
    page = [job_body(job, context.queue.progress(job.id), rate) for job in listed[:limit]]
    return schemas.JobPage(data=page, next=page[-1].id if len(listed) > limit else None)


@router.get(
    "/{job}",
    summary="One job",
    responses=refusals(404),
    dependencies=[allow("read")],
    operation_id="one_v1_jobs__job__get",
)
def job_of(
    job: str,
    context: Service,
    records: Annotated[bool, Query(description="false leaves them out: there may be very many")] = True,
) -> schemas.Job:
    """State and progress of a job and of each record."""
    rate = context.workers.tokens_per_s()
    if not records:
        return job_body(context.queue.summary(job), context.queue.progress(job), rate)
    current = context.queue.job(job)
    return job_body(current, current.progress, rate)


@router.delete("/{job}", summary="Cancel a job", responses=refusals(404), dependencies=[allow("submit")])
def cancel(job: str, context: Service) -> schemas.Job:
    """Cancel its queued and running tasks that no other job shares; finished results stay cached."""
    context.queue.cancel(job)
    current = context.queue.job(job)
    return job_body(current, current.progress, context.workers.tokens_per_s())


def job_response(job: Job, context: Context, notices: Iterable[str] = ()) -> Response:
    """200 for a job that has ended, else 202; with its location and further notices."""
    progress = job.progress
    ended = progress.ended
    headers = {"Location": f"/v1/jobs/{job.id}"} | ({} if ended else {"Retry-After": "1"})
    body = job_body(job, progress, 0.0 if ended else context.workers.tokens_per_s())
    body.notices.extend(notices)
    return JSONResponse(body.model_dump(mode="json"), 200 if ended else 202, headers)


def enqueue(submission: Submission, priority: Priority, context: Context) -> str:
    """Queue a submission; returns the job's id.

    Raises:
        QueueFullError: as `require_room`.
    """
    require_room(submission, context)
    return context.queue.submit(submission.recipe, submission.requests, submission.notices, priority)


def require_room(submission: Submission, context: Context) -> None:
    """Refuse a submission while the queue is full.

    Raises:
        QueueFullError: too many tasks are queued, and some results of the submission are not cached.
    """
    limit = context.settings.max_queued
    if (waiting := context.queue.waiting()) >= limit:
        fit = [request for request in submission.requests if not isinstance(request, RejectedRecord)]
        keys = {key for request in fit for key in request.keys}
        if context.store.catalog.ready_among(list(keys)) != keys:
            raise QueueFullError(
                f"{waiting:,} sequences wait, and this service queues {limit:,}; come again later"
            )


def _submit(request: schemas.JobRequest, upload: bytes | None, context: Context) -> str:
    sequences = sequences_of(request, upload, context.genomes, context.settings)
    submission = prepare(sequences, request, context.served, context.settings)
    if request.pooling is not None or request.bottleneck is not None:
        context.served.pooling(request.pooling or DEFAULT, request.bottleneck, submission.recipe)
    return enqueue(submission, request.priority, context)
