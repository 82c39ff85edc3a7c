"""Queue rows as wire bodies."""

from covpool.service import schemas
from covpool.service.queue import Job


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
