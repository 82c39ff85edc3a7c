"""Queue a FASTA file and return at once, through a running service."""

from pathlib import Path
from typing import Any

import click

from covpool.clients.client import Client
from covpool.clients.commands.options import extraction_options, service_options


@click.command
@click.argument("fasta", type=click.Path(exists=True, dir_okay=False, path_type=Path))
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
    """Queue every sequence of FASTA and print the job's id.

    Example: covpool submit genes.fa
    """
    with Client(url, token) as client:
        job = client.submit(fasta, **extraction)
    click.echo(job.model_dump_json() if as_json else job.id)
