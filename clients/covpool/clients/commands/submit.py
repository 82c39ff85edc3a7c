"""Queue a FASTA file and return at once, through a running service."""

from pathlib import Path
from typing import Any

import click

from covpool.clients.client import Client
from covpool.clients.commands.options import content_of, extraction_options, fasta_argument, service_options


@click.command
@fasta_argument
@click.option("--json", "as_json", is_flag=True, help="The job as JSON.")
@extraction_options
@service_options
def submit(
    fasta: Path,
    as_json: bool,
    url: str,
    token: str | None,
    **extraction: Any,
) -> None:
    """Queue every sequence of FASTA (- is standard input) and print the job's id.

    Example: covpool submit genes.fa
    """
    with Client(url, token) as client:
        job = client.submit(content_of(fasta), **extraction)
    click.echo(job.model_dump_json() if as_json else job.id)
