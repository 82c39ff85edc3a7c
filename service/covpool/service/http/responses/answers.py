"""Queue rows as wire bodies."""

from covpool.service import schemas
from covpool.service.queue import Job, Progress


def job_body(job: Job, progress: Progress, tokens_per_s: float) -> schemas.Job:
    """The wire form of a job with this progress, at this rate of the workers."""
    return schemas.Job(
        id=job.id,
        state=progress.state,
        created=job.created,
        model=job.recipe.model,
        layer=job.recipe.layer,
        tokens=progress.tokens,
        tokens_done=progress.tokens_done,
        eta_s=progress.eta_s(tokens_per_s),
        records_total=progress.records,
        records_done=progress.records_done,
        records_failed=progress.records_failed,
        records=[schemas.JobRecord.model_validate(record, from_attributes=True) for record in job.records],
        notices=job.notices,
    )
