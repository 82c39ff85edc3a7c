"""Catalog and queue rows as wire bodies, and the documented errors that routes share."""

from typing import Any

from covpool.service import schemas
from covpool.service.queue import Job

#: OpenAPI entries of the problem documents a route may answer with.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.Problem, "description": "No such model, layer, job or key"},
    422: {"model": schemas.Problem, "description": "Not DNA, or not a valid request"},
}


def job_body(job: Job) -> schemas.Job:
    """The wire form of a job."""
    progress = job.progress
    return schemas.Job(
        id=job.id,
        state=progress.state,
        created=job.created,
        model=job.recipe.model,
        layer=job.recipe.layer,
        tokens=progress.tokens,
        tokens_done=progress.tokens_done,
        records=[
            schemas.JobRecord(
                name=record.name,
                key=record.key,
                length=record.length,
                state=record.state,
                error=record.error,
            )
            for record in job.records
        ],
        notices=job.notices,
    )
