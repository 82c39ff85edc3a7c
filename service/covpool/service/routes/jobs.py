"""Jobs: submit sequences or a FASTA file, look at progress."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from covpool.service import schemas
from covpool.service.context import Context, Service
from covpool.service.queue import Job
from covpool.service.routes.answers import PROBLEMS, job_body
from covpool.service.routes.waiting import preferred_wait, wait_for
from covpool.service.submission import prepare, read_input

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["fasta"],
                    "properties": {
                        "fasta": {
                            "type": "string",
                            "format": "binary",
                            "description": "plain, gzip or bgzip",
                        },
                        "model": {"type": "string"},
                        "layer": {"type": "string"},
                        "strand": {"enum": ["+", "-", "both"]},
                        "skip_tokens": {"type": "integer", "minimum": 0},
                        "species": {"type": "string"},
                        "beyond_context": {"type": "boolean"},
                    },
                }
            },
        },
    }
}


@router.post(
    "",
    summary="Submit sequences",
    response_model=schemas.Job,
    responses={202: {"model": schemas.Job, "description": "Accepted; follow Location"}, **PROBLEMS},
    openapi_extra=_BODY,
)
async def submit(
    request: Request, context: Service, prefer: Annotated[str | None, Header()] = None
) -> Response:
    """Queue what is not cached yet. 200 when everything is, else 202; the same request is the same job."""
    options, text = await _read(request)
    job = await run_in_threadpool(_submit, context, options, text)
    found = await wait_for(context, job, preferred_wait(prefer, context, default=0))
    return job_response(found)


@router.get("", summary="Latest jobs")
def latest(context: Service, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[schemas.Job]:
    """The latest jobs, newest first."""
    return [job_body(job) for job in context.queue.jobs(limit)]


@router.get("/{job}", summary="One job", responses=PROBLEMS)
def one(job: str, context: Service) -> schemas.Job:
    """State and progress of a job and of each record."""
    return job_body(context.queue.job(job))


def job_response(job: Job) -> Response:
    """200 for a job that has ended, else 202; with its location either way."""
    ended = job.progress.ended
    headers = {"Location": f"/v1/jobs/{job.id}"} | ({} if ended else {"Retry-After": "1"})
    return JSONResponse(job_body(job).model_dump(mode="json"), 200 if ended else 202, headers)


async def _read(request: Request) -> tuple[schemas.ExtractionOptions, str | list[str] | bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            async with request.form(max_files=1, max_fields=8) as form:
                fields: dict[str, Any] = dict(form)
                file = fields.pop("fasta", None)
                options = schemas.ExtractionOptions.model_validate(fields)
                if not isinstance(file, UploadFile):
                    raise HTTPException(422, "fasta: no file was sent; send the FASTA file in this field")
                return options, await file.read()
        if kind == "application/json":
            body = schemas.JobRequest.model_validate_json(await request.body())
            return schemas.ExtractionOptions(**body.model_dump(exclude={"input"})), body.input
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    raise HTTPException(415, "send application/json, or multipart/form-data with a file field 'fasta'")


def _submit(context: Context, options: schemas.ExtractionOptions, text: str | list[str] | bytes) -> str:
    sequences = read_input(text, context.settings)
    submission = prepare(sequences, options, context.offered, context.settings)
    return context.queue.submit(submission.recipe, submission.requests, submission.notices)
