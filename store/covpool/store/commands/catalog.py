"""Make the catalog of a store again from its arrays, or bring its tables to the newest revision."""

import json
from dataclasses import asdict

import click

from covpool.store.catalog.rooms import rooms
from covpool.store.commands.cursor import tell
from covpool.store.commands.options import opened, processors, progress_of, store_options
from covpool.store.database.database import Database
from covpool.store.existence import require_catalog, require_catalog_file, require_place
from covpool.store.maintenance import rebuild as tool
from covpool.store.storage.locations import catalog_url


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


@click.command
@store_options()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per room on standard output.")
def migrate(location: str, catalog: str | None, as_json: bool) -> None:
    """Bring the tables of a store to the revision this covpool needs.

    Each room's tables change in one transaction: wholly, or not at all. Make a backup of the database before.

    Example: covpool store migrate --store genes.covpool
    """
    if catalog is None:
        require_place(location)
    else:
        require_catalog_file(catalog)
    database = Database.open(catalog_url(location, catalog))
    try:
        require_catalog(database, location)
        for room, tables in rooms().items():
            before, after = tables.migrate(database)
            if as_json:
                click.echo(json.dumps({"room": room, "before": before, "after": after}))
            elif before is None:
                click.echo(f"{room}: no tables")
            else:
                click.echo(f"{room}: {before}" if before == after else f"{room}: {before} -> {after}")
    finally:
        database.close()
