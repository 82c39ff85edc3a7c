"""Read a store from end to end and repair what is damaged: once and fully, or slowly again and again."""

import re
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

import click

from covpool.store.commands.cursor import Cursor, counted, cursor_option, tell
from covpool.store.commands.options import opened, processors, progress_of, store_options, time_span
from covpool.store.errors import OutdatedCatalogError, StoreError
from covpool.store.maintenance.verify import Problem, verify_entries, verify_rows
from covpool.store.maintenance.verify import scrub as scrub_entries
from covpool.store.outages import is_outage
from covpool.store.store import Store


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


_DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS = _DECIMAL | {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
#: Seconds until a storage that was away is tried again.
_AGAIN_S = 30.0


def byte_rate(text: str) -> float:
    """Bytes per second of 50MB/s, 200kB/s or 1MiB/s; a type of click options."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)(?:/s)?", text)
    if match is None or match[2] not in _UNITS or not float(match[1]):
        raise click.BadParameter(f"{text!r} is no rate; write 50MB/s, 200kB/s or 1MiB/s")
    return float(match[1]) * _UNITS[match[2]]


@click.command
@store_options()
@click.option("--rate", type=byte_rate, default="50MB/s", show_default=True, help="Most that is read.")
@cursor_option
@click.option("--every", type=time_span, help="Begin anew so long after the last beginning; for ever.")
@click.option("--once", is_flag=True, help="One pass, as without --every.")
@click.option("--report-only", is_flag=True, help="Name what is damaged, and leave it as it is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per problem on standard output.")
def scrub(
    location: str,
    catalog: str | None,
    rate: float,
    cursor: Path | None,
    every: timedelta | None,
    once: bool,
    report_only: bool,
    as_json: bool,
) -> None:
    """Read every matrix of a store at a bounded rate; name and repair what is damaged.

    A damaged row is retired: another whole row of its key is read, or it is computed again when it is next
    asked for. Others may use the store all the while. One pass ends with 1 if a key was lost or a problem is
    left; with --every the command runs until SIGTERM, and waits for a storage that is away. In a store that
    may not be written, problems are only named.

    Example: covpool store scrub --store genes.covpool --rate 50MB/s --every 7d --cursor genes.scrub
    """
    if once and every is not None:
        raise click.UsageError("give --once or --every, not both")
    stop = threading.Event()
    _end_on_signals(stop)
    while True:
        begun = time.monotonic()
        try:
            problems = _one_pass(location, catalog, rate, cursor, report_only, as_json, stop)
        except StoreError as error:
            if every is None or not is_outage(error):
                raise
            click.echo(f"paused: {error}", err=True)
            stop.wait(_AGAIN_S)
            problems, begun = [], float("-inf")
        if stop.is_set():
            return
        if every is None:
            break
        stop.wait(max(0.0, begun + every.total_seconds() - time.monotonic()))
    if any(not problem.healed for problem in problems):
        raise click.exceptions.Exit(1)


def _one_pass(
    location: str,
    catalog: str | None,
    rate: float,
    cursor: Path | None,
    report_only: bool,
    as_json: bool,
    stop: threading.Event,
) -> list[Problem]:
    """The problems, with those of the run that is resumed."""
    run = Cursor(cursor, location)
    with opened(location, catalog) as store, progress_of("scrub") as progress:
        repair, total = not report_only and _may_repair(store), len(store)
        steps = scrub_entries(store, rate=rate, after=run.after, repair=repair, stop=stop)
        run.follow(steps, total, progress, as_json)
    if not stop.is_set():
        run.end()
        click.echo(f"{run.entries:,} entries scrubbed, {counted(run.problems)}.", err=True)
    return run.problems


def _may_repair(store: Store) -> bool:
    try:
        store.require_writable()
    except OutdatedCatalogError as error:
        click.echo(f"Notice: problems are only named: {error}", err=True)
        return False
    return True


def _end_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT end the pass after the matrix in hand; the cursor says where."""

    def end(_: int, __: FrameType | None) -> None:
        stop.set()

    # Only the main thread may set handlers; in another thread the caller ends the run.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
