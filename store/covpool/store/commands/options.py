"""What the commands of the store share: which store, which entries, how far they are."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from covpool.store.catalog.entries import Entry
from covpool.store.maintenance.backup import BackedUp
from covpool.store.store import Store

F = TypeVar("F", bound=Callable[..., object])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LINE_EVERY_S = 5.0


def time_span(text: str) -> timedelta:
    """What 90s, 30m, 24h, 7d or 0 says; a type of click options."""
    found = re.fullmatch(r"(\d+)([smhd])|0", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no time span; write 90s, 30m, 24h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]] if found[1] else 0)


def store_options(command: F) -> F:
    """LOCATION of the store, and --catalog where its database lies elsewhere."""
    command = click.option(
        "--catalog",
        envvar="COVPOOL_CATALOG",
        metavar="URL",
        help="Database of the catalog, where it is not the store's own.",
    )(command)
    return click.argument("location")(command)


def filter_options(command: F) -> F:
    """Which entries; see `selected`."""
    for option in reversed(
        (
            click.option("--model", help="Only of this model."),
            click.option("--layer", help="Only of this layer."),
            click.option("--selection", help="Only of this token selection (whole, CDS, …)."),
            click.option("--key", "keys", multiple=True, help="Only this key; may be given again."),
            click.option("--name", "names", multiple=True, help="Only of this name; may be given again."),
        )
    ):
        command = option(command)
    return command


@contextmanager
def opened(
    location: str, catalog: str | None, *, lost_catalog: bool = False, read_only: bool = False
) -> Iterator[Store]:
    """The store at a location, which has to be one already; whoever only reads needs no right to write.

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


def selected(
    store: Store,
    *,
    model: str | None,
    layer: str | None,
    selection: str | None,
    keys: tuple[str, ...],
    names: tuple[str, ...],
) -> list[Entry]:
    """Ready entries in key order; of those named, where keys or names are given.

    Raises:
        click.ClickException: a key or name leads to nothing.
    """
    if not keys and not names:
        found = store.catalog.entries(model=model, layer=layer)
    else:
        found = [store.entry(key) for key in keys]
        for name in names:
            of_name = [one.entry for one in store.names.find(name)]
            if not of_name:
                raise click.ClickException(f"{name}: no stored moments have this name")
            found += of_name
        found = sorted({entry.key: entry for entry in found}.values(), key=lambda entry: entry.key)
    wanted = {"model": model, "layer": layer, "selection": selection}
    return [
        entry
        for entry in found
        if all(value in (None, getattr(entry.namespace.recipe, field)) for field, value in wanted.items())
    ]


def tell_copied(done: BackedUp, target: str, as_json: bool) -> None:
    """What a backup or restore did.

    Raises:
        click.exceptions.Exit: with 1, where keys were lost.
    """
    if as_json:
        click.echo(json.dumps({"target": target, **asdict(done)}))
    else:
        for problem in done.problems:
            click.echo(problem.message)
        click.echo(f"{target}: {done.entries:,} keys; {done.objects:,} objects were copied", err=True)
    if done.problems:
        raise click.exceptions.Exit(1)


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback that shows progress on standard error: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        shown = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _LINE_EVERY_S:
                shown = time.monotonic()
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
