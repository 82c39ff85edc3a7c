"""What the commands of the store share: which store, and how far they are."""

import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from covpool.store.store import Store

F = TypeVar("F", bound=Callable[..., object])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LINE_EVERY_S = 5.0


def time_span(text: str) -> timedelta:
    """What 90s, 30m, 24h, 7d or 0 says; a type of click options."""
    match = re.fullmatch(r"(\d+)([smhd])|0", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no time span; write 90s, 30m, 24h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]] if match[1] else 0)


def store_options(*operands: str, former: int = 0) -> Callable[[F], F]:
    """--store and --catalog, chosen as by every command; it is handed them as `location` and `catalog`.

    Args:
        operands: names of what else stands on the line.
        former: before which of them covpool 0.1 took the location; that is still understood.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def called(*, store: str, line: tuple[str, ...], **others: Any) -> Any:
            context, places = click.get_current_context(), list(line)
            named = context.get_parameter_source("store") is ParameterSource.COMMANDLINE
            if len(places) == len(operands) + 1 and not named:
                store = places.pop(former)
                click.echo(f"Notice: a LOCATION is deprecated; write --store {store}", err=True)
            if len(places) != len(operands):
                wanted = " ".join(operands).upper() or "no argument"
                raise click.UsageError(f"takes {wanted} in addition to the options, not {len(places)}")
            return command(location=store, **dict(zip(operands, places, strict=True)), **others)

        decorated: Any = called
        for option in (
            click.option(
                "--catalog",
                envvar="COVPOOL_CATALOG",
                default=partial(_setting, "catalog"),
                metavar="URL",
                help="Database of the catalog, where it is not the store's own; COVPOOL_CATALOG.",
            ),
            click.option(
                "--store",
                envvar="COVPOOL_STORE",
                default=partial(_setting, "store", "covpool-store"),
                metavar="LOCATION",
                help="Location of the store; COVPOOL_STORE, or covpool-store.",
            ),
            click.argument("line", nargs=-1, metavar=" ".join(operands).upper()),
        ):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _setting(name: str, otherwise: str | None = None) -> str | None:
    """What the file of settings says that COVPOOL_CONFIG names."""
    file = os.environ.get("COVPOOL_CONFIG")
    if not file:
        return otherwise
    try:
        value = tomllib.loads(Path(file).read_text(encoding="utf-8")).get(name, otherwise)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"COVPOOL_CONFIG: {file} is no TOML file to be read ({error})") from error
    return None if value is None else str(value)


@contextmanager
def opened(
    location: str, catalog: str | None, *, lost_catalog: bool = False, read_only: bool = False
) -> Iterator[Store]:
    """The store at a location, which must exist; reading needs no write permission.

    Raises:
        StoreNotFoundError: there is none; nothing is made.
    """
    with Store.open(
        location, catalog=catalog, lost_catalog=lost_catalog, create=False, read_only=read_only
    ) as store:
        if read_only and store.outdated:
            click.echo(
                f"Notice: catalog and arrays are not of the same moment ({store.outdated}); what the catalog "
                "does not know is left out until: covpool store rebuild",
                err=True,
            )
        yield store


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback that shows progress on standard error: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        reported = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal reported
            if time.monotonic() - reported >= _LINE_EVERY_S:
                reported = time.monotonic()
                console.print(f"{what}: {done:,} of {total:,}")

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def processors() -> int:
    """Threads that read at once by default."""
    return min(8, os.cpu_count() or 1)
