"""List the entries of a store, or write their matrices as files that can be read without covpool."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from covpool.store.catalog.entries import Entry
from covpool.store.commands.options import opened, progress_of, store_options
from covpool.store.maintenance.export import describe, export_npz, export_safetensors, export_zarr
from covpool.store.store import Store

F = TypeVar("F", bound=Callable[..., object])

_HEADER = ("key", "model", "layer", "selection", "d", "dtype", "tokens", "bp", "created")


def _filter_options(command: F) -> F:
    """Which entries; see `_selected`."""
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


@click.command
@store_options()
@_filter_options
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per entry on standard output.")
def ls(location: str, catalog: str | None, limit: int | None, as_json: bool, **which: Any) -> None:
    """List the ready entries of a store: a table on a terminal, else lines with tabs.

    Example: covpool store ls --store genes.covpool --layer up.6 --limit 20
    """
    with opened(location, catalog, read_only=True) as store:
        entries = _selected(store, **which)
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
    what = f"{len(entries):,} entries"
    if len(shown) < len(entries):
        what = f"{len(shown):,} of {what}"
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


_FORMATS = {".zarr": export_zarr, ".npz": export_npz, ".safetensors": export_safetensors}


@click.command
@store_options("target")
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="What was written as JSON.")
def export(location: str, catalog: str | None, target: str, as_json: bool, **which: Any) -> None:
    """Export matrices of a store to TARGET, a name in .zarr, .npz or .safetensors.

    Full matrices with mean, count, recipe, key and names. Nothing is overwritten; an export to .zarr that was
    stopped goes on when it is asked for again.

    Example: covpool store export --store genes.covpool lacZ.npz --name lacZ --layer up.6
    """
    path = Path(target)
    if path.suffix not in _FORMATS:
        raise click.UsageError(f"TARGET must end in {', '.join(_FORMATS)}, not {path.suffix!r}")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"TARGET: there is no directory {path.parent}; make it first")
    with opened(location, catalog, read_only=True) as store:
        entries = _selected(store, **which)
        if not entries:
            raise click.ClickException(f"{location}: no entry matches; see covpool store ls")
        with progress_of("export") as progress:
            written = _FORMATS[path.suffix](store, entries, path, progress=progress)
    if as_json:
        click.echo(json.dumps({"target": target, "entries": len(entries), "written": written}))
    else:
        click.echo(f"Wrote {written:,} matrices to {target}", err=True)


def _selected(
    store: Store, keys: tuple[str, ...], names: tuple[str, ...], **recipe: str | None
) -> list[Entry]:
    """Ready entries in key order, as `_filter_options` ask; of those named, where keys or names are given.

    Raises:
        click.ClickException: a key or name leads to nothing.
    """
    if keys or names:
        entries = [store.entry(key) for key in keys]
        for name in names:
            of_name = [named.entry for named in store.names.find(name)]
            if not of_name:
                raise click.ClickException(f"{name}: no stored moments have this name")
            entries += of_name
        entries = sorted({entry.key: entry for entry in entries}.values(), key=lambda entry: entry.key)
    else:
        entries = store.catalog.entries(model=recipe["model"], layer=recipe["layer"])
    return [
        entry
        for entry in entries
        if all(value in (None, getattr(entry.namespace.recipe, field)) for field, value in recipe.items())
    ]
