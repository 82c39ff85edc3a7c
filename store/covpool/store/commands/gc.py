"""Delete the remains of interrupted writers, and rows that are no longer read, from a store."""

import json
from dataclasses import asdict
from datetime import timedelta

import click

from covpool.store.commands.options import opened, progress_of, store_options, time_span
from covpool.store.maintenance.gc import collect

_WHAT = {
    "partial": "unfinished files",
    "reserved": "abandoned reservations",
    "retired": "replaced rows",
    "unclaimed": "rows without an entry",
    "copies": "compacted copies out of use",
    "sums": "partial sums of finished keys",
}


@click.command
@store_options()
@click.option(
    "--age",
    type=time_span,
    default="1d",
    show_default=True,
    help="Leave alone what is younger: longer than any writer takes for one matrix.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
def gc(location: str, catalog: str | None, age: timedelta, dry_run: bool, as_json: bool) -> None:
    """Sweep a store; readers and writers go on meanwhile. Repeating it is harmless.

    Example: covpool store gc --store genes.covpool --dry-run
    """
    with opened(location, catalog) as store, progress_of("gc") as progress:
        swept = asdict(collect(store, age=age, dry_run=dry_run, progress=progress))
    if as_json:
        click.echo(json.dumps({**swept, "dry_run": dry_run}))
        return
    verb = "would be removed" if dry_run else "removed"
    for name, what in _WHAT.items():
        click.echo(f"{swept[name]:,} {what} {verb}")
    if swept["kept"]:
        click.echo(
            f"{swept['kept']:,} rows are newer than the catalog and were kept; enter them with covpool store "
            "rebuild"
        )
