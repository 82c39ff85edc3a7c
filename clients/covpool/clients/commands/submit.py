"""Queue a FASTA file at a running service and return immediately."""

from typing import Any

import click

from covpool.clients.client import Client
from covpool.clients.commands.options import (
    extraction_options,
    fasta_argument,
    service_options,
    show_failed,
)
from covpool.clients.inputs import Input


@click.command
@fasta_argument
@click.option("--json", "as_json", is_flag=True, help="The job as JSON.")
@extraction_options
@service_options
def submit(
    fasta: Input,
    as_json: bool,
    url: str,
    token: str | None,
    **extraction: Any,
) -> None:
    """Queue every sequence of FASTA (plain or compressed; - is standard input) and print the job's id.

    A record that cannot be queued is reported on standard error, and the exit code is 1; the others
    are queued.

    Example: covpool submit genes.fa
    """
    with Client(url, token) as client:
        job = client.submit(fasta, **extraction)
    click.echo(job.model_dump_json() if as_json else job.id)
    show_failed(job)
    if job.records_failed:
        raise click.exceptions.Exit(1)
