"""Extract the moments of a FASTA file into a store, without a service."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from covpool.extractor.errors import SequenceError
from covpool.extractor.extraction.workload import Workload
from covpool.extractor.models.models import Model, describe
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.fasta import Refused, read_records
from covpool.extractor.sequences.sequences import Sequence
from covpool.service.commands.options import (
    device_option,
    json_option,
    model_option,
    recipe_options,
    store_option,
    write_row,
    writing_options,
)
from covpool.service.commands.stores import open_store
from covpool.service.extraction.caching import cache
from covpool.service.extraction.engine import Engine
from covpool.store.maintenance.healing import is_cached
from covpool.store.storage.whole_files import Durability
from covpool.store.values.keys import MomentsKey, Recipe, Strand


@click.command
@click.argument("fasta", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@store_option
@writing_options
@model_option
@click.option("--layer", help="A layer of the model; its default one when omitted.")
@recipe_options
@click.option("--beyond-context", is_flag=True, help="Take longer sequences than documented.")
@device_option
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of a forward on a CPU; another number may change the last bits of results.",
)
@click.option("--download", is_flag=True, help="Fetch a hub id that is not in the local hub cache.")
@click.option(
    "--again", is_flag=True, help="Compute what is cached too; replace what is damaged or has other bits."
)
@json_option("One JSON object per sequence on standard output.")
def extract(
    fasta: str,
    store: str | None,
    durability: Durability | None,
    codec: str | None,
    model: str,
    layer: str | None,
    strand: Strand,
    species: str,
    beyond_context: bool,
    dtype: str,
    device: str | None,
    threads: int,
    download: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Extract every sequence of FASTA (- is standard input) that the store lacks; what is cached stays.

    FASTA is plain, or packed with gzip, bgzip, bzip2, xz or zstd. A line is written as soon as a sequence is
    cached; long ones come first. A sequence that cannot be
    extracted is named on standard error, and makes the command end with 1; the others are extracted all the
    same.

    Example: covpool extract genes.fa --store genes.covpool
    """
    described = describe(model, download=download)
    options = Options(strand=strand, condition=species, beyond_context=beyond_context)
    recipe = described.recipe(layer, options, dtype=dtype)
    names: dict[MomentsKey, list[str]] = defaultdict(list)
    missing: dict[MomentsKey, Workload] = {}
    console = Console(stderr=True)
    failed = 0

    def fail(name: str, reason: str) -> None:
        nonlocal failed
        failed += 1
        click.echo(f"Failed: {name}: {reason}", err=True)

    records = _records(fasta, described, recipe, options, fail)
    with (
        open_store(store, create=True, durability=durability, codec=codec) as cached,
        Progress(console=console, disable=not console.is_terminal) as bar,
    ):

        def notice(text: str) -> None:
            click.echo(f"Notice: {text}", err=True)

        def report(key: MomentsKey, cached: bool) -> None:
            for name in names[key]:
                line = {"name": name, "key": key.digest, "length": key.length, "cached": cached}
                write_row(line, as_json)

        for sequence in records:
            for text in sequence.notices:
                notice(text)
            key = MomentsKey(sequence.digest, len(sequence), recipe)
            names[key].append(sequence.name)
            if again or not is_cached(cached, key.digest, notice):
                missing[key] = Workload.of(sequence, [recipe])
        for key in names:
            if key not in missing:
                report(key, cached=True)
        keys, workloads = list(missing), list(missing.values())
        task = bar.add_task("tokens", total=sum(workload.tokens(described) for workload in workloads))
        engine = Engine(cached, device=device, threads=threads)
        progress = partial(bar.advance, task)
        for index, fault in cache(engine, described, workloads, again=again, progress=progress):
            if fault is None:
                report(keys[index], cached=False)
            else:
                for name in names[keys[index]]:
                    fail(name, str(fault))
    if failed:
        raise click.exceptions.Exit(1)


def _records(
    fasta: str, model: Model, recipe: Recipe, options: Options, fail: Callable[[str, str], None]
) -> Iterator[Sequence]:
    """The sequences that can be extracted; `fail` is called with the others."""
    records = read_records(sys.stdin.buffer if fasta == "-" else Path(fasta))
    layer = model.layer(recipe.layer)
    for record in records:
        if isinstance(record, Refused):
            fail(record.name, record.error)
            continue
        try:
            model.check(len(record), record.name, layer, options)
        except SequenceError as error:
            fail(record.name, str(error))
        else:
            yield record
