"""Extract the moments of a FASTA file into a store, without a service."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from covpool.extractor.fasta import read_fasta
from covpool.extractor.models import DTYPES, Options, describe
from covpool.service.tasks import Extraction
from covpool.store.keys import MomentsKey, Strand
from covpool.store.zarr_store import Store


@click.command
@click.argument("fasta", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--store", default="covpool-store", show_default=True, help="Directory of the store.")
@click.option("--model", default="ntv3-mini", show_default=True, help="Bundled name, directory or hub id.")
@click.option("--layer", help="A layer of the model; its default one when omitted.")
@click.option("--strand", type=click.Choice(["+", "-", "both"]), default="+", show_default=True)
@click.option("--species", help="For a model that is conditioned on one.")
@click.option("--beyond-context", is_flag=True, help="Take longer sequences than documented.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)
@click.option("--device", help="Torch device; CUDA where there is one.")
@click.option("--download", is_flag=True, help="Fetch a hub id that is not in the local hub cache.")
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
    as_json: bool,
) -> None:
    """Extract every sequence of FASTA that the store lacks; what is cached is not computed again.

    Example: covpool extract genes.fa --store genes.covpool
    """
    described = describe(model, download=download)
    options = Options(strand=strand, condition=species or "", beyond_context=beyond_context)
    recipe = described.recipe(layer, options, dtype=dtype)
    sequences = list(read_fasta(fasta))
    tokens = sum(map(len, sequences))
    console = Console(stderr=True)
    with Store.open(store) as cache, Progress(console=console, disable=not console.is_terminal) as bar:
        extraction = Extraction(cache, device=device)
        task = bar.add_task("bases", total=tokens)
        for sequence in sequences:
            for notice in sequence.notices:
                click.echo(f"Notice: {notice}", err=True)
            key = MomentsKey(sequence.digest, len(sequence), recipe)
            cached = key in cache
            if not cached:
                extraction.run(described, key, sequence.bases)
            bar.advance(task, len(sequence))
            line = {"name": sequence.name, "key": str(key), "length": len(sequence), "cached": cached}
            click.echo(json.dumps(line) if as_json else "\t".join(map(str, line.values())))
