"""Read every checksum of a store and compare its catalog with its arrays."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from covpool.store.commands.cursor import cursor_option, read_cursor, write_cursor
from covpool.store.commands.options import opened, processors, progress_of, store_options, time_span
from covpool.store.maintenance.verify import Problem, verify_entries, verify_rows


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
    state = read_cursor(cursor, location)
    problems = [Problem(**one) for one in state["problems"]]
    for problem in problems:
        _show(problem, as_json)
    with opened(location, catalog, read_only=not repair) as store:
        if repair:
            store.require_writable()
        total = len(store)
        with progress_of("verify") as progress:
            for step in verify_entries(store, after=state["after"], threads=threads, repair=repair):
                for problem in step.problems:
                    _show(problem, as_json)
                problems += step.problems
                done = state["entries"] + step.entries
                progress(done, total)
                write_cursor(cursor, location, step.after, done, problems)
        for problem in (rest := verify_rows(store, leftover_age=age)):
            _show(problem, as_json)
        problems += rest
    if cursor is not None:
        cursor.unlink(missing_ok=True)
    healed = sum(problem.healed for problem in problems)
    told = f", {healed:,} of them repaired" if repair else ""
    click.echo(f"{total:,} entries verified, {len(problems):,} problem(s){told}.", err=True)
    if len(problems) > healed:
        raise click.exceptions.Exit(1)


def _show(problem: Problem, as_json: bool) -> None:
    click.echo(json.dumps(asdict(problem)) if as_json else problem.message)
