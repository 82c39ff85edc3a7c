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
    strands = 2 if job.recipe.strand == "both" else 1
    return schemas.Job(
        id=job.id,
        state=job.state,
        created=job.created,
        model=job.recipe.model,
        layer=job.recipe.layer,
        tokens=strands * sum(record.length for record in job.records),
        tokens_done=sum(
            strands * record.length if record.state == "done" else record.tokens_done
            for record in job.records
        ),
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
