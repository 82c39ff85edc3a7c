"""List what a store holds."""

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from covpool.store.catalog.entries import Entry
from covpool.store.commands.options import filter_options, opened, selected, store_options
from covpool.store.maintenance.export import describe

_HEADER = ("key", "model", "layer", "selection", "d", "dtype", "tokens", "bp", "created")


@click.command
@store_options()
@filter_options
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per entry on standard output.")
def ls(
    location: str,
    catalog: str | None,
    limit: int | None,
    as_json: bool,
    **which: Any,
) -> None:
    """List the ready entries of a store: a table on a terminal, else lines with tabs.

    Example: covpool store ls --store genes.covpool --layer up.6 --limit 20
    """
    with opened(location, catalog, read_only=True) as store:
        entries = selected(store, **which)
        shown = entries[:limit]
        if as_json:
            for entry in shown:
                click.echo(json.dumps(describe(store, entry)))
            return
    console = Console()
    if console.is_terminal:
        table = Table(*_HEADER)
        for entry in shown:
            table.add_row(*_row(entry))
        console.print(table)
    else:
        for entry in shown:
            click.echo("\t".join(_row(entry)))
    what = (
        f"{len(shown):,} of {len(entries):,} entries"
        if len(shown) < len(entries)
        else f"{len(entries):,} entries"
    )
    click.echo(what if entries else "No entries.", err=True)


def _row(entry: Entry) -> tuple[str, ...]:
    recipe, created = entry.namespace.recipe, entry.created
    return (
        entry.key,
        recipe.model,
        recipe.layer,
        recipe.selection,
        str(entry.namespace.width),
        entry.namespace.dtype,
        str(entry.count),
        str(entry.length),
        f"{created:%Y-%m-%d %H:%M}" if created else "",
    )
