"""Copy the rows of a store into few large objects, and delete what is no longer read."""

import json
from dataclasses import asdict
from datetime import timedelta

import click

from covpool.store.codecs import codec_id
from covpool.store.commands.options import opened, progress_of, store_options, time_span
from covpool.store.maintenance import compact as tool
from covpool.store.maintenance.gc import collect


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
