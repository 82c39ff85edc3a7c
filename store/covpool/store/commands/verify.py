"""Read every checksum of a store and compare its catalog with its arrays."""

from datetime import timedelta
from pathlib import Path

import click

from covpool.store.commands.cursor import Cursor, counted, cursor_option, tell
from covpool.store.commands.options import opened, processors, progress_of, store_options, time_span
from covpool.store.maintenance.verify import verify_entries, verify_rows


@click.command
@store_options()
@click.option("--threads", type=click.IntRange(1), default=processors, help="Matrices read at once.")
@cursor_option
@click.option(
    "--age",
    type=time_span,
    default="1d",
    show_default=True,
    help="Leave out what a writer left behind since, who may be at work still.",
)
@click.option(
    "--repair",
    is_flag=True,
    help="Retire damaged rows: another whole row of the key is read, or it can be computed again.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per problem on standard output.")
def verify(
    location: str,
    catalog: str | None,
    threads: int,
    cursor: Path | None,
    age: timedelta,
    repair: bool,
    as_json: bool,
) -> None:
    """Verify a store; name every problem, one a line, and end with 1 if any is left.

    Example: covpool store verify --store genes.covpool --cursor genes.verify
    """
    run = Cursor(cursor, location)
    tell(run.problems, as_json)
    with opened(location, catalog, read_only=not repair) as store:
        if repair:
            store.require_writable()
        total = len(store)
        with progress_of("verify") as progress:
            steps = verify_entries(store, after=run.after, threads=threads, repair=repair)
            run.follow(steps, total, progress, as_json)
        rest = list(verify_rows(store, leftover_age=age))
    tell(rest, as_json)
    run.end()
    problems = run.problems + rest
    click.echo(f"{total:,} entries verified, {counted(problems, repair=repair)}.", err=True)
    if any(not problem.healed for problem in problems):
        raise click.exceptions.Exit(1)
