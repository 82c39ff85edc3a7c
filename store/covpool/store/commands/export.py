"""Write selected matrices as files that can be read without covpool."""

import json
from pathlib import Path
from typing import Any

import click

from covpool.store.commands.options import filter_options, opened, progress_of, selected, store_options
from covpool.store.maintenance.export import export_npz, export_safetensors, export_zarr

_FORMATS = {".zarr": export_zarr, ".npz": export_npz, ".safetensors": export_safetensors}


@click.command
@store_options("target")
@filter_options
@click.option("--json", "as_json", is_flag=True, help="What was written as JSON.")
def export(
    location: str,
    catalog: str | None,
    target: str,
    as_json: bool,
    **which: Any,
) -> None:
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
        entries = selected(store, **which)
        if not entries:
            raise click.ClickException(f"{location}: no entry matches; see covpool store ls")
        with progress_of("export") as progress:
            written = _FORMATS[path.suffix](store, entries, path, progress=progress)
    if as_json:
        click.echo(json.dumps({"target": target, "entries": len(entries), "written": written}))
    else:
        click.echo(f"Wrote {written:,} matrices to {target}", err=True)
