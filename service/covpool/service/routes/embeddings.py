"""Embeddings from cached moments, computed here in numpy; missing moments become a job."""

import base64
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from covpool.extractor.errors import SequenceError
from covpool.service import schemas
from covpool.service.computing import compute
from covpool.service.context import Context, Service
from covpool.service.errors import RequestError
from covpool.service.inputs import sequences_of
from covpool.service.openapi import body_of, refusals
from covpool.service.queue import Job, Unfit
from covpool.service.queue import Request as Record
from covpool.service.routes.jobs import enqueue, job_response
from covpool.service.routes.reading import read_json_or_fasta
from covpool.service.routes.waiting import preferred_wait, wait_for
from covpool.service.submission import prepare
from covpool.service.tokens import allow
from covpool.store.keys import Recipe

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], dependencies=[allow("submit")])

#: Seconds a request waits when it does not say; short of what proxies and clients usually bear.
DEFAULT_WAIT_S = 30.0

#: Numbers in one answer: JSON is some fifteen times slower than bytes and holds up every other request.
MOST_NUMBERS = {"float": 1 << 18, "base64": 1 << 23}


@router.post(
    "",
    summary="Embed sequences",
    response_model=schemas.EmbeddingResponse,
    responses={
        202: {"model": schemas.Job, "description": "Not ready in time; follow Location, then ask again"},
        **refusals(400, 404, 409, 415),
    },
    openapi_extra=body_of(schemas.EmbeddingRequest, upload=True),
)
async def embed(
    request: Request, context: Service, prefer: Annotated[str | None, Header(description="wait=N")] = None
) -> Response:
    """Embeddings in the order of the input; waits up to `Prefer: wait=N` seconds for missing moments."""
    body, upload = await read_json_or_fasta(request, schemas.EmbeddingRequest)
    found = await run_in_threadpool(_cached_or_queued, body, upload, context)
    if isinstance(found, str):
        job = await wait_for(context, found, preferred_wait(prefer, context, DEFAULT_WAIT_S))
        if not job.progress.ended:
            return await run_in_threadpool(job_response, job, context)
        found = await run_in_threadpool(_of_job, job, skip_failed=body.skip_failed)
    else:
        context.metrics.looked_up("moments", hits=len(found.records), misses=0)
    answer = await compute(_answer, body, found, context)
    return Response(answer, media_type="application/json")


@dataclass(frozen=True)
class _Cached:
    """What is to be embedded, all of it in the store: place, name, key and length (bp) of each sequence."""

    recipe: Recipe
    records: list[tuple[int, str, str, int]]
    notices: list[str]


def _cached_or_queued(
    request: schemas.EmbeddingRequest, upload: bytes | None, context: Context
) -> _Cached | str:
    """What is asked for when all of it is cached, which costs no write; else the job that makes it so."""
    if request.job is not None:
        given = [
            name for name in ("input", "gene", "region", "assembly") if getattr(request, name) is not None
        ]
        if given or upload is not None:
            raise RequestError("give either 'input' (sequences) or 'job' (the id of a job), and not both")
        recipe = context.queue.job(request.job).recipe
        context.offered.pooling(request.pooling, request.bottleneck, recipe)
        return request.job
    if request.input is None and request.gene is None and request.region is None and upload is None:
        raise RequestError("give either 'input' (sequences) or 'job' (the id of a job), and not both")
    sequences = sequences_of(request, upload, context.genomes, context.settings)
    submission = prepare(sequences, request, context.offered, context.settings)
    # Refused before anything is computed, not after.
    for one in submission.requests:
        if isinstance(one, Unfit) and not request.skip_failed:
            raise SequenceError(one.error)
    context.offered.pooling(request.pooling, request.bottleneck, submission.recipe)
    fit = [(at, one) for at, one in enumerate(submission.requests) if isinstance(one, Record)]
    keys = {one.key.digest for _, one in fit}
    if context.store.catalog.ready_among(list(keys)) == keys:
        records = [(at, one.name, one.key.digest, one.key.length) for at, one in fit]
        return _Cached(submission.recipe, records, submission.notices)
    return enqueue(submission, "interactive", context)


def _of_job(job: Job, *, skip_failed: bool) -> _Cached:
    done = [(at, one) for at, one in enumerate(job.records) if one.state == "done"]
    missing = [one for one in job.records if one.state != "done"]
    if missing and not (skip_failed and done):
        first = missing[0]
        raise RequestError(
            f"{len(missing)} of {len(job.records)} records are not there, "
            f"first {first.name}: {first.error or first.state}"
        )
    return _Cached(job.recipe, [(at, one.name, one.key, one.length) for at, one in done], job.notices)


def _answer(request: schemas.EmbeddingRequest, cached: _Cached, context: Context) -> bytes:
    pooling = context.offered.pooling(request.pooling, request.bottleneck, cached.recipe)
    data: list[schemas.Embedding] = []
    for index, name, key, _ in cached.records:
        moments = context.store.get(key)
        embedding = moments.second_moment if pooling is None else pooling.embed(moments)
        _check_size(embedding.size, len(cached.records), request.encoding_format)
        data.append(
            schemas.Embedding(
                index=index,
                embedding=(
                    base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")
                    if request.encoding_format == "base64"
                    else embedding.ravel().astype(np.float64).tolist()
                ),
                shape=list(embedding.shape),
                name=name,
                key=key,
            )
        )
    tokens = sum(length for *_, length in cached.records)
    body = schemas.EmbeddingResponse(
        data=data,
        model=cached.recipe.model,
        layer=cached.recipe.layer,
        pooling=request.pooling,
        bottleneck=pooling.name if pooling is not None and request.pooling == "bottleneck" else "",
        usage=schemas.Usage(prompt_tokens=tokens, total_tokens=tokens),
        notices=cached.notices,
    )
    return body.model_dump_json().encode()


def _check_size(numbers: int, records: int, encoding: str) -> None:
    if numbers * records > MOST_NUMBERS[encoding]:
        other = "encoding_format base64, " if encoding == "float" else ""
        raise RequestError(
            f"{records} x {numbers:,} numbers are more than one answer takes "
            f"({MOST_NUMBERS[encoding]:,}); ask for {other}fewer sequences at a time, "
            "or fetch matrices as bytes from /v1/moments"
        )
