"""Copy the rows of a store into few large objects, and read those instead."""

import json
from dataclasses import asdict

import click

from covpool.store.codecs import codec_id
from covpool.store.commands.options import opened, progress_of, store_options
from covpool.store.maintenance import compact as tool


def _checked(context: click.Context, parameter: click.Parameter, choice: str | None) -> str | None:
    try:
        if choice is not None:
            codec_id(choice)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return choice


@click.command
@store_options()
@click.option("--model", help="Only of this model.")
@click.option("--layer", help="Only of this layer.")
@click.option(
    "--codec",
    metavar="NAME",
    callback=_checked,
    help="Encode anew; cold is about 5 % smaller, slower to read.",
)
@click.option(
    "--shard-rows",
    type=click.IntRange(1, tool.SHARD_ROWS_MOST),
    default=tool.SHARD_ROWS_DEFAULT,
    show_default=True,
    help="Matrices in one object; they are in memory together while it is written.",
)
@click.option("--all", "every", is_flag=True, help="Copy what is compacted already too, into one copy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per namespace on standard output.")
def compact(
    location: str,
    catalog: str | None,
    model: str | None,
    layer: str | None,
    codec: str | None,
    shard_rows: int,
    every: bool,
    as_json: bool,
) -> None:
    """Compact the namespaces of a store; the old chunks go with the next gc.

    Writers and readers go on meanwhile. A run that was stopped goes on. Damaged rows are named and stay where
    they are, and make it end with 1.

    Example: covpool store compact --store genes.covpool --codec cold
    """
    damaged = 0
    with opened(location, catalog) as store:
        for namespace, _ in store.ledger.namespaces().values():
            recipe = namespace.recipe
            if model not in (None, recipe.model) or layer not in (None, recipe.layer):
                continue
            with progress_of(f"{recipe.model} {recipe.layer}") as progress:
                done = tool.compact(
                    store, namespace, codec=codec, shard_rows=shard_rows, every=every, progress=progress
                )
            if done is None:
                continue
            damaged += len(done.damaged)
            if as_json:
                click.echo(json.dumps(asdict(done)))
                continue
            click.echo(
                f"{recipe.model} {recipe.layer}: copy {done.generation}, {done.swapped:,} rows read from it"
            )
            for key in done.damaged:
                click.echo(
                    f"{key}: is damaged and was not copied; compute it again (covpool extract --again)"
                )
    if damaged:
        raise click.exceptions.Exit(1)
