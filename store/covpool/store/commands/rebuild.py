"""Make the catalog of a store again from its arrays."""

import json
from dataclasses import asdict

import click

from covpool.store.commands.cursor import tell
from covpool.store.commands.options import opened, processors, progress_of, store_options
from covpool.store.maintenance import rebuild as tool


@click.command
@store_options()
@click.option("--threads", type=click.IntRange(1), default=processors, help="Rows read at once.")
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
def rebuild(location: str, catalog: str | None, threads: int, as_json: bool) -> None:
    """Enter every whole row of the arrays of a store that the catalog lacks.

    For a catalog that was lost (move a damaged catalog.sqlite and its -wal and -shm away first), or one older
    than the arrays. Nobody may write meanwhile. Names cannot be had from the arrays: add them again, for
    example from an export. Damaged rows are named and not entered, and make it end with 1. A run that was
    stopped goes on.

    Example: covpool store rebuild --store genes.covpool
    """
    with opened(location, catalog, lost_catalog=True) as store, progress_of("rebuild") as progress:
        done = tool.rebuild(store, threads=threads, progress=progress)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        tell(done.problems, as_json=False)
        click.echo(
            f"{done.ready:,} rows entered, {done.superseded:,} older rows of the same keys retired, "
            f"{done.known:,} known already, {len(done.problems):,} problem(s). Names are not in the arrays.",
            err=True,
        )
    if done.problems:
        raise click.exceptions.Exit(1)
