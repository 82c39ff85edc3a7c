"""Embeddings from cached moments, computed here in numpy; missing moments become a job."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from covpool.extractor.errors import SequenceError
from covpool.service import schemas
from covpool.service.database.tokens import allow, require
from covpool.service.errors import MatrixLostError, RequestError
from covpool.service.http.computing import compute
from covpool.service.http.context import Context, Service
from covpool.service.http.healing import read_whole
from covpool.service.http.openapi import body_of, refusals
from covpool.service.http.reading import read_json_or_fasta
from covpool.service.http.responses.deprecation import deprecated, deprecations
from covpool.service.http.responses.waiting import Preference, Preferred, not_ready, wait_for
from covpool.service.http.routes.jobs import enqueue, job_response
from covpool.service.queue import Job, RejectedRecord
from covpool.service.queue import Request as Record
from covpool.service.submission.embedding_form import Form
from covpool.service.submission.offered import DEFAULT
from covpool.service.submission.records import sequences_of
from covpool.service.submission.submission import prepare, require_options_of
from covpool.store.errors import KeyNotFoundError, ReadOnlyError
from covpool.store.values.keys import Recipe

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], dependencies=[allow("read")])

#: Seconds a request waits when it does not say; short of what proxies and clients usually bear.
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

    Waits for missing moments, 30 seconds or as `Prefer: wait=N` says. If they are not there by then, the work
    goes on, and the answer is 503 with `Retry-After`, so that clients of OpenAI's find the result by trying
    again; or 202 with the job where the request prefers to wait (`wait=N`) or to follow it (`respond-async`),
    or names a job itself.
    """
    body, upload = await read_json_or_fasta(request, schemas.EmbeddingRequest)
    for last in (False, True):
        answer = await _answered(body, upload, request, context, prefer)
        if isinstance(answer, Response):
            return deprecated(body, answer)
        # What was lost is missing now, and computed as anything that is.
        if last or body.job is not None:
            raise answer
    raise AssertionError


async def _answered(
    body: schemas.EmbeddingRequest,
    upload: bytes | None,
    request: Request,
    context: Context,
    prefer: Preference,
) -> Response | MatrixLostError:
    """The answer, unless matrices were found damaged on the way."""
    found = await run_in_threadpool(_cached_or_queued, body, upload, request, context)
    if isinstance(found, str):
        job = await wait_for(context, found, prefer.seconds(DEFAULT_WAIT_S))
        if not job.progress.ended and not (prefer.takes_a_job or body.job):
            raise await run_in_threadpool(not_ready, job, context)
        if not job.progress.ended:
            return prefer.applied(await run_in_threadpool(job_response, job, context, deprecations(body)))
        found = await run_in_threadpool(_of_job, job, skip_failed=body.skip_failed)
    else:
        context.metrics.looked_up("moments", hits=len(found.records), misses=0)
    try:
        answer = await compute(_answer, body, found, context)
    except MatrixLostError as lost:
        return lost
    return prefer.applied(Response(answer, media_type="application/json"))


@dataclass(frozen=True)
class _Cached:
    """What is to be embedded, all of it in the store: place, name, key and length (bp) of each sequence."""

    recipe: Recipe
    records: list[tuple[int, str, str, int]]
    notices: list[str]


def _cached_or_queued(
    request: schemas.EmbeddingRequest, upload: bytes | None, asked: Request, context: Context
) -> _Cached | str:
    """What is asked for when all of it is cached, which costs no write; else the job that makes it so."""
    if request.job is not None:
        given = [
            name for name in ("input", "gene", "region", "assembly") if getattr(request, name) is not None
        ]
        if given or upload is not None:
            told = " and ".join(repr(name) for name in given) or "a FASTA file"
            raise RequestError(
                f"'job' goes with no sequences, and there is {told} too; leave one of them out"
            )
        job = context.queue.job(request.job)
        require_options_of(job.recipe, request)
        _form(request, job.recipe, len(job.records), context)
        return request.job
    sequences = sequences_of(request, upload, context.genomes, context.settings)
    submission = prepare(sequences, request, context.offered, context.settings)
    # Refused before anything is computed, not after.
    for one in submission.requests:
        if isinstance(one, RejectedRecord) and not request.skip_failed:
            raise SequenceError(one.error)
    _form(request, submission.recipe, len(submission.requests), context)
    fit = [(at, one) for at, one in enumerate(submission.requests) if isinstance(one, Record)]
    keys = {one.task for _, one in fit}
    missing = keys - context.store.catalog.ready_among(list(keys))
    if not missing:
        records = [(at, one.name, one.task, one.workload.length) for at, one in fit]
        return _Cached(submission.recipe, records, submission.notices)
    why = f"{len(missing):,} of {len(keys):,} sequences are not cached and would have to be computed: "
    require(asked, "submit", why)
    if context.store.read_only:
        raise ReadOnlyError(f"{why}this service only reads; send them to one that computes")
    return enqueue(submission, "interactive", context)


def _of_job(job: Job, *, skip_failed: bool) -> _Cached:
    done = [(at, one) for at, one in enumerate(job.records) if one.state == "done"]
    missing = [one for one in job.records if one.state != "done"]
    if missing and not (skip_failed and done):
        first = missing[0]
        raise RequestError(
            f"{len(missing)} of {len(job.records)} records are not there, "
            f"first {first.name}: {first.error or first.state}"
            + ("; skip_failed leaves them out" if done else "")
        )
    return _Cached(job.recipe, [(at, one.name, one.key, one.length) for at, one in done], job.notices)


def _form(request: schemas.EmbeddingRequest, recipe: Recipe, records: int, context: Context) -> Form:
    """What is sent of each record, refused where that is known already: before anything is computed."""
    form = Form.of(request, recipe, context.offered)
    if (width := context.offered.width(recipe)) is not None:
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
