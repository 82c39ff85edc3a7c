"""Copy a store, whole as it is at one moment, to another place, and make a store again from such a copy."""

import json
from dataclasses import asdict

import click

from covpool.store.commands.cursor import tell
from covpool.store.commands.options import opened, processors, progress_of, store_options
from covpool.store.maintenance.backup import BackedUp, back_up
from covpool.store.maintenance.backup_places import backup_target, restore_target


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
    _tell_copied(done, target, as_json)


@click.command
@store_options("backup", former=1)
@click.option("--backup-catalog", metavar="URL", help="Database of the backup's catalog, where it has one.")
@click.option("--threads", type=click.IntRange(1), default=processors, help="Rows copied at once.")
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
def restore(
    backup: str, location: str, catalog: str | None, backup_catalog: str | None, threads: int, as_json: bool
) -> None:
    """Make a store of BACKUP, which is only read, where none is yet; a catalog database must be empty.

    A run that was stopped is to be run again; until then the store cannot be written to. Keys that cannot be
    read are named, and make it end with 1.

    Example: covpool store restore /backups/genes.covpool --store genes.covpool
    """
    with (
        opened(backup, backup_catalog, read_only=True) as source,
        restore_target(location, catalog) as store,
        progress_of("restore") as progress,
    ):
        done = back_up(source, store, threads=threads, progress=progress)
    _tell_copied(done, location, as_json)


def _tell_copied(done: BackedUp, target: str, as_json: bool) -> None:
    """What a backup or restore did.

    Raises:
        click.exceptions.Exit: with 1, where keys were lost.
    """
    if as_json:
        click.echo(json.dumps({"target": target, **asdict(done)}))
    else:
        tell(done.problems, as_json=False)
        click.echo(f"{target}: {done.entries:,} keys; {done.objects:,} objects were copied", err=True)
    if done.problems:
        raise click.exceptions.Exit(1)
