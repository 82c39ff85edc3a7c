"""Embeddings from cached moments, computed here in numpy; missing moments become a job."""

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from covpool.extractor.errors import SequenceError
from covpool.service import schemas
from covpool.service.database.tokens import allow, require
from covpool.service.errors import MatrixLostError, RequestError
from covpool.service.http.context import Context, Service
from covpool.service.http.healing import read_whole
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json_or_fasta
from covpool.service.http.responses.answers import deprecated, deprecations
from covpool.service.http.responses.waiting import Preference, Preferred, not_ready, wait_for
from covpool.service.http.routes.jobs import enqueue, job_response
from covpool.service.http.threads import compute
from covpool.service.queue import Job, RejectedRecord
from covpool.service.queue import Request as Record
from covpool.service.submission.embedding_form import Form
from covpool.service.submission.records import sequences_of
from covpool.service.submission.served import DEFAULT
from covpool.service.submission.submission import prepare, require_options_of
from covpool.store.errors import KeyNotFoundError, ReadOnlyError
from covpool.store.values.keys import Recipe

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], dependencies=[allow("read")])

#: Seconds a request waits by default; shorter than the usual timeouts of proxies and clients.
DEFAULT_WAIT_S = 30.0


_NOT_READY = refusals(503)[503] | {
    "description": "Not ready in time, in answer to any other request: send it again after `Retry-After` "
    "seconds, `Location` is the job. Or the store or its database is not available"
}


@router.post(
    "",
    summary="Embed sequences",
    response_model=schemas.EmbeddingResponse,
    responses={
        202: {
            "model": schemas.Job,
            "description": "Not ready in time, where the request has `Prefer: wait=N` or `respond-async`, or "
            "names a `job`: follow Location, then ask again",
        },
        **refusals(400, 404, 409, 410, 415),
        503: _NOT_READY,
    },
    openapi_extra=body_of(schemas.EmbeddingRequest, upload=True),
)
async def embed(request: Request, context: Service, prefer: Preferred) -> Response:
    """Embeddings in the order of the input. What is cached needs the scope read, what is not also submit.

    Waits for missing moments: 30 seconds, or as `Prefer: wait=N` says. If they are not ready by then, the
    computation continues, and the answer is 503 with `Retry-After`, so that the retries of OpenAI's clients
    get the result. It is 202 with the job if the request has `Prefer: wait=N` or `respond-async`, or names a
    job.
    """
    body, upload = await read_json_or_fasta(request, schemas.EmbeddingRequest)
    answer_now = partial(_answer_now, body, upload, request, context, prefer)
    try:
        answer = await answer_now()
    except MatrixLostError:
        if body.job is not None:
            raise
        # The lost matrix is missing now, and is computed like any other.
        answer = await answer_now()
    return deprecated(body, answer)


async def _answer_now(
    body: schemas.EmbeddingRequest,
    upload: bytes | None,
    request: Request,
    context: Context,
    prefer: Preference,
) -> Response:
    cached = await run_in_threadpool(_cached_or_queued, body, upload, request, context)
    if isinstance(cached, str):
        job = await wait_for(context, cached, prefer.seconds(DEFAULT_WAIT_S))
        if not job.progress.ended and not (prefer.takes_a_job or body.job):
            raise await run_in_threadpool(not_ready, job, context)
        if not job.progress.ended:
            return prefer.applied(await run_in_threadpool(job_response, job, context, deprecations(body)))
        cached = await run_in_threadpool(_of_job, job, skip_failed=body.skip_failed)
    else:
        context.metrics.looked_up("moments", hits=len(cached.records), misses=0)
    answer = await compute(_answer, body, cached, context)
    return prefer.applied(Response(answer, media_type="application/json"))


@dataclass(frozen=True)
class _Cached:
    """Cached records to embed: position, name, key and length (bp) of each sequence."""

    recipe: Recipe
    records: list[tuple[int, str, str, int]]
    notices: list[str]


def _cached_or_queued(
    request: schemas.EmbeddingRequest, upload: bytes | None, asked: Request, context: Context
) -> _Cached | str:
    """The records if all are cached, which needs no write; else the id of the job that computes them."""
    if request.job is not None:
        other_sources = [
            name for name in ("input", "gene", "region", "assembly") if getattr(request, name) is not None
        ]
        if other_sources or upload is not None:
            sources = " and ".join(repr(name) for name in other_sources) or "a FASTA file"
            raise RequestError(
                f"'job' goes with no sequences, and there is {sources} too; leave one of them out"
            )
        job = context.queue.job(request.job)
        require_options_of(job.recipe, request)
        _form(request, job.recipe, len(job.records), context)
        return request.job
    sequences = sequences_of(request, upload, context.genomes, context.settings)
    submission = prepare(sequences, request, context.served, context.settings)
    # Refuse before anything is computed.
    for record in submission.requests:
        if isinstance(record, RejectedRecord) and not request.skip_failed:
            raise SequenceError(record.error)
    _form(request, submission.recipe, len(submission.requests), context)
    fit = [(at, record) for at, record in enumerate(submission.requests) if isinstance(record, Record)]
    keys = {record.task for _, record in fit}
    missing = keys - context.store.catalog.ready_among(list(keys))
    if not missing:
        records = [(at, record.name, record.task, record.workload.length) for at, record in fit]
        return _Cached(submission.recipe, records, submission.notices)
    why = f"{len(missing):,} of {len(keys):,} sequences are not cached and would have to be computed: "
    require(asked, "submit", why)
    if context.store.read_only:
        raise ReadOnlyError(f"{why}this service only reads; send them to one that computes")
    return enqueue(submission, "interactive", context)


def _of_job(job: Job, *, skip_failed: bool) -> _Cached:
    done = [(at, record) for at, record in enumerate(job.records) if record.state == "done"]
    missing = [record for record in job.records if record.state != "done"]
    if missing and not (skip_failed and done):
        first = missing[0]
        raise RequestError(
            f"{len(missing)} of {len(job.records)} records are not there, "
            f"first {first.name}: {first.error or first.state}"
            + ("; skip_failed leaves them out" if done else "")
        )
    records = [(at, record.name, record.key, record.length) for at, record in done]
    return _Cached(job.recipe, records, job.notices)


def _form(request: schemas.EmbeddingRequest, recipe: Recipe, records: int, context: Context) -> Form:
    """The form of each embedding; a form that does not fit is refused before anything is computed."""
    form = Form.of(request, recipe, context.served)
    if (width := context.served.width(recipe)) is not None:
        form.check(width, records)
    return form


def _answer(request: schemas.EmbeddingRequest, cached: _Cached, context: Context) -> bytes:
    form = _form(request, cached.recipe, len(cached.records), context)
    data: list[schemas.Embedding] = []
    lost: list[str] = []
    for index, name, key, _ in cached.records:
        try:
            moments = read_whole(context, key, context.store.get)
        except (MatrixLostError, KeyNotFoundError) as error:
            lost.append(f"{name}: {error}")
            continue
        form.check(moments.width, len(cached.records))
        embedding = form.embedding(moments)
        data.append(
            schemas.Embedding(
                index=index,
                embedding=form.written(embedding),
                shape=list(embedding.shape),
                name=name,
                key=key,
            )
        )
    if lost:
        again = "; submit the job's sequences again" if request.job is not None else ""
        raise MatrixLostError(f"{len(lost)} of {len(cached.records)} records, first {lost[0]}{again}")
    tokens = sum(length for *_, length in cached.records)
    body = schemas.EmbeddingResponse(
        data=data,
        model=cached.recipe.model,
        layer=cached.recipe.layer,
        pooling=request.pooling,
        bottleneck=form.pooling.name if form.pooling is not None and request.pooling == DEFAULT else "",
        fitted=form.fitted,
        usage=schemas.Usage(prompt_tokens=tokens, total_tokens=tokens),
        notices=[*cached.notices, *deprecations(request)],
    )
    return body.model_dump_json().encode()
