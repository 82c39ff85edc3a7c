"""Show the latest jobs, or one of them, of a running service."""

import click

from covpool.clients.client import Client
from covpool.clients.commands.options import ended, service_options
from covpool.clients.transport import Transport, check_digest
from covpool.service.schemas import Job

#: Seconds to wait for the service's answer whether it is ready.
_READY_S = 30.0


@click.command
@click.argument("job", required=False)
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one job per line.")
@service_options
def status(job: str | None, wait: bool, as_json: bool, url: str, token: str | None) -> None:
    """Show the latest jobs, or JOB with each of its records.

    The exit code is 1 if JOB failed or was cancelled.

    Example: covpool status 3f9a… --wait
    """
    if wait and job is None:
        raise click.UsageError("--wait needs a job")
    if job is not None:
        check_digest(job, "a job")
    transport = Transport(url, token, timeout_s=_READY_S)
    if reason := transport.not_ready():
        click.echo(f"Notice: the service is not ready: {reason}", err=True)
    transport.close()
    with Client(url, token) as client:
        if job is None:
            for each in client.jobs():
                click.echo(each.model_dump_json() if as_json else _line(each))
            return
        current = ended(client, job) if wait else client.job(job)
    if as_json:
        click.echo(current.model_dump_json())
    else:
        click.echo(_line(current))
        for record in current.records:
            click.echo(
                f"  {record.state}\t{record.name}\t{record.length:,} bp\t{record.key}\t{record.error or ''}"
            )
    if current.state in ("failed", "cancelled"):
        raise click.exceptions.Exit(1)


def _line(job: Job) -> str:
    failed = f", {job.records_failed} failed" if job.records_failed else ""
    counts = f"{job.records_done}/{job.records_total} sequences{failed}"
    return f"{job.id}\t{job.state}\t{counts}\t{job.model} {job.layer}"
