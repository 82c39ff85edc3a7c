"""Make a store again from a backup."""

import click

from covpool.store.commands.options import opened, processors, progress_of, store_options, tell_copied
from covpool.store.maintenance.backup import back_up
from covpool.store.maintenance.backup_places import restore_target


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
    tell_copied(done, location, as_json)
