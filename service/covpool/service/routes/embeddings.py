"""Embeddings: M = Lᵀ C R from cached moments, computed here in numpy; missing moments become a job."""

import base64
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from covpool.extractor.errors import SequenceError
from covpool.service import schemas
from covpool.service.context import Context, Service
from covpool.service.errors import RequestError
from covpool.service.queue import Job, Unfit
from covpool.service.routes.answers import PROBLEMS
from covpool.service.routes.jobs import job_response
from covpool.service.routes.waiting import preferred_wait, wait_for
from covpool.service.submission import prepare, read_input

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"])

#: Seconds a request waits when it does not say; short of what proxies and clients usually bear.
DEFAULT_WAIT_S = 30.0


def _json_only(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "send application/json; a FASTA file goes to /v1/jobs, then embed its job")


@router.post(
    "",
    summary="Embed sequences",
    dependencies=[Depends(_json_only)],
    response_model=schemas.EmbeddingResponse,
    responses={
        202: {"model": schemas.Job, "description": "Not ready in time; follow Location, then ask again"},
        409: {"model": schemas.Problem, "description": "The bottleneck was fitted on other moments"},
        **PROBLEMS,
    },
)
async def embed(
    request: schemas.EmbeddingRequest,
    context: Service,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Embeddings in the order of the input; waits up to `Prefer: wait=N` seconds for missing moments."""
    job = await run_in_threadpool(_job_of, request, context)
    found = await wait_for(context, job, preferred_wait(prefer, context, DEFAULT_WAIT_S))
    if not found.progress.ended:
        return job_response(found)
    body = await run_in_threadpool(_embed, request, found, context)
    return Response(body.model_dump_json(), media_type="application/json")


def _job_of(request: schemas.EmbeddingRequest, context: Context) -> str:
    if (request.input is None) == (request.job is None):
        raise RequestError("give either 'input' (sequences) or 'job' (the id of a job), and not both")
    if request.job is not None:
        recipe = context.queue.job(request.job).recipe
        context.offered.bottleneck(request.bottleneck, recipe)
        return request.job
    assert request.input is not None
    sequences = read_input(request.input, context.settings)
    submission = prepare(sequences, request, context.offered, context.settings)
    # Refused before anything is computed, not after.
    for one in submission.requests:
        if isinstance(one, Unfit):
            raise SequenceError(one.error)
    context.offered.bottleneck(request.bottleneck, submission.recipe)
    return context.queue.submit(
        submission.recipe, submission.requests, submission.notices, priority="interactive"
    )


def _embed(request: schemas.EmbeddingRequest, job: Job, context: Context) -> schemas.EmbeddingResponse:
    missing = [record for record in job.records if record.state != "done"]
    if missing:
        first = missing[0]
        raise RequestError(
            f"{len(missing)} of {len(job.records)} records are not there, "
            f"first {first.name}: {first.error or first.state}"
        )
    bottleneck = context.offered.bottleneck(request.bottleneck, job.recipe)
    data = []
    for index, record in enumerate(job.records):
        found = bottleneck.embed(context.store.get(record.key))
        embedding = found.ravel()
        data.append(
            schemas.Embedding(
                index=index,
                embedding=(
                    base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")
                    if request.encoding_format == "base64"
                    else np.asarray(embedding, np.float64).tolist()
                ),
                shape=list(found.shape),
                name=record.name,
                key=record.key,
            )
        )
    tokens = sum(record.length for record in job.records)
    return schemas.EmbeddingResponse(
        data=data,
        model=job.recipe.model,
        layer=job.recipe.layer,
        bottleneck=bottleneck.name,
        usage=schemas.Usage(prompt_tokens=tokens, total_tokens=tokens),
        notices=job.notices,
    )
