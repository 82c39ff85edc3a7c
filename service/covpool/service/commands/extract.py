"""Extract the moments of a FASTA file into a store, without a service."""

import json
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from covpool.extractor.fasta import read_fasta
from covpool.extractor.models import DTYPES, Model, Options, describe
from covpool.extractor.sequences import Sequence
from covpool.service.tasks import Extraction
from covpool.store.keys import MomentsKey, Recipe, Strand
from covpool.store.zarr_store import Store

_FASTA = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command
@click.argument("fasta", type=_FASTA)
@click.option("--store", default="covpool-store", show_default=True, help="Directory of the store.")
@click.option("--model", default="ntv3-mini", show_default=True, help="Bundled name, directory or hub id.")
@click.option("--layer", help="A layer of the model; its default one when omitted.")
@click.option("--strand", type=click.Choice(["+", "-", "both"]), default="+", show_default=True)
@click.option("--species", help="For a model that is conditioned on one.")
@click.option("--beyond-context", is_flag=True, help="Take longer sequences than documented.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)
@click.option("--device", help="Torch device; CUDA where there is one.")
@click.option("--download", is_flag=True, help="Fetch a hub id that is not in the local hub cache.")
@click.option("--again", is_flag=True, help="Compute what is cached too, to mend damaged entries.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per sequence on standard output.")
def extract(
    fasta: Path,
    store: str,
    model: str,
    layer: str | None,
    strand: Strand,
    species: str | None,
    beyond_context: bool,
    dtype: str,
    device: str | None,
    download: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Extract every sequence of FASTA that the store lacks; what is cached is not computed again.

    FASTA is plain, or packed with gzip, bgzip, bzip2, xz or zstd; - is standard input. A line is written as
    soon as a sequence is cached; long ones come first.

    Example: covpool extract genes.fa --store genes.covpool
    """
    described = describe(model, download=download)
    options = Options(strand=strand, condition=species or "", beyond_context=beyond_context)
    recipe = described.recipe(layer, options, dtype=dtype)
    names: dict[MomentsKey, list[str]] = defaultdict(list)
    missing: dict[MomentsKey, Sequence] = {}
    console = Console(stderr=True)
    with Store.open(store) as cache, Progress(console=console, disable=not console.is_terminal) as bar:

        def tell(key: MomentsKey, cached: bool) -> None:
            for name in names[key]:
                line = {"name": name, "key": key.digest, "length": key.length, "cached": cached}
                click.echo(json.dumps(line) if as_json else "\t".join(map(str, line.values())))

        source = sys.stdin.buffer if str(fasta) == "-" else fasta
        for sequence in read_fasta(source):
            for notice in sequence.notices:
                click.echo(f"Notice: {notice}", err=True)
            key = MomentsKey(sequence.digest, len(sequence), recipe)
            names[key].append(sequence.name)
            if again or key not in cache:
                missing[key] = sequence
        for key in names:
            if key not in missing:
                tell(key, cached=True)
        strands = 2 if strand == "both" else 1
        tokens = strands * sum(_tokens(described, recipe, sequence) for sequence in missing.values())
        task = bar.add_task("tokens", total=tokens)
        advance = partial(bar.advance, task)
        for key in Extraction(cache, device=device).run(
            described, recipe, list(missing.values()), progress=advance
        ):
            tell(key, cached=False)


def _tokens(model: Model, recipe: Recipe, sequence: Sequence) -> int:
    return model.layer(recipe.layer).tokens(len(sequence))
