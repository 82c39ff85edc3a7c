"""Copy a store, whole as it is at one moment, to another place."""

import click

from covpool.store.commands.options import opened, processors, progress_of, store_options, tell_copied
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.backup_places import backup_target


@click.command
@store_options("target")
@click.option(
    "--target-catalog",
    metavar="URL",
    help="Database for the backup's catalog; by default a SQLite file with the backup, also in a bucket.",
)
@click.option("--threads", type=click.IntRange(1), default=processors, help="Rows copied at once.")
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
def backup(
    location: str, catalog: str | None, target: str, target_catalog: str | None, threads: int, as_json: bool
) -> None:
    """Back up a store to TARGET, a directory or s3://bucket/prefix; others go on meanwhile.

    Arrays, catalog, and what the service keeps there (jobs, genomes, tokens, fits). To an earlier backup of
    the same store only what is new is copied. A run that was stopped leaves an earlier backup readable, and
    is to be run again. Keys that cannot be read are named, and make it end with 1.

    Example: covpool store backup --store genes.covpool /backups/genes.covpool
    """
    with (
        opened(location, catalog, read_only=True) as store,
        backup_target(target, target_catalog) as place,
        progress_of("backup") as progress,
    ):
        done = back_up(store, place, threads=threads, progress=progress)
    tell_copied(done, target, as_json)
