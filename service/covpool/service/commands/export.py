"""Write the embeddings of all genes of an assembly as one table."""

import json
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import click

from covpool.service.assemblies.files import described, write
from covpool.service.assemblies.registry import Genomes
from covpool.service.assemblies.table import assembly_table
from covpool.service.commands.options import json_option, store_option
from covpool.service.commands.stores import open_store
from covpool.service.submission.served import Served
from covpool.store.commands.options import progress_of
from covpool.store.poolings.fitted import load_pooling
from covpool.store.poolings.kinds import Pooling
from covpool.store.values.keys import Recipe

_SUFFIXES = {"anndata": (".h5ad",), "parquet": (".parquet",)}


@click.command
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--assembly", required=True, help="Assembly of the genes; see covpool precompute and covpool genome."
)
@click.option(
    "--format", "form", type=click.Choice(list(_SUFFIXES)), help="By the name of TARGET if omitted."
)
@click.option("--pooling", help="Name, kind or file; the default bottleneck of each recipe when omitted.")
@click.option("--bottleneck", hidden=True, help="Deprecated spelling of --pooling.")
@click.option("--model", help="Only of this model.")
@click.option("--layer", help="Only of this layer.")
@click.option("--selection", help="Only of this token selection (whole, CDS, …).")
@click.option(
    "--bottlenecks",
    envvar="COVPOOL_BOTTLENECKS",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of further bottleneck files.",
)
@json_option("What was written as JSON.")
@store_option
def export(
    target: Path,
    assembly: str,
    form: str | None,
    pooling: str | None,
    bottleneck: str | None,
    model: str | None,
    layer: str | None,
    selection: str | None,
    bottlenecks: Path | None,
    as_json: bool,
    store: str | None,
) -> None:
    """Write the embeddings of all genes of an assembly to TARGET: AnnData (.h5ad) or .parquet.

    One row for each gene, with its coordinates; one matrix for each layer and token selection that is cached.
    Where the assembly is registered, moments of other bases than a gene has now are left out, with a notice.
    Of several matrices of a gene (with and without flanks) the newest counts. No model runs. Nothing is
    overwritten.

    Example: covpool export R64.h5ad --assembly R64 --selection whole --store yeast.covpool
    """
    allowed = _SUFFIXES[form] if form else tuple(end for ends in _SUFFIXES.values() for end in ends)
    if target.suffix not in allowed:
        raise click.UsageError(f"TARGET must end in {', '.join(allowed)}, not {target.suffix!r}")
    if target.exists() or not target.absolute().parent.is_dir():
        raise click.UsageError(f"TARGET: {target} is there already, or its directory is not")
    if target.suffix in _SUFFIXES["anndata"] and find_spec("anndata") is None:
        raise click.ClickException("AnnData needs a library more: pip install 'covpool[anndata]'")
    if bottleneck is not None:
        click.echo("Notice: --bottleneck is deprecated: give the name with --pooling", err=True)
    name = bottleneck if pooling is None else pooling
    served = Served.read(bottlenecks=bottlenecks)
    file = load_pooling(Path(name)) if name and name.endswith(".safetensors") else None

    def pooling_for(recipe: Recipe) -> Pooling:
        if file is None:
            return served.bottleneck(name, recipe)
        file.require(recipe)
        return file

    with (
        open_store(store) as opened,
        closing(Genomes(opened.database)) as genomes,
        progress_of("export") as progress,
    ):
        table = assembly_table(
            opened,
            assembly,
            pooling_for,
            bases=genomes.bases(assembly),
            model=model,
            layer=layer,
            selection=selection,
            progress=progress,
        )
    write(table, target)
    for notice in table.notices:
        click.echo(f"Notice: {notice}", err=True)
    if as_json:
        click.echo(json.dumps({"target": str(target), "genes": len(table.genes)} | described(table)))
        return
    click.echo(f"{target}: {len(table.genes):,} genes")
    for label, matrix in table.embeddings.items():
        have = int((matrix.tokens > 0).sum())
        click.echo(f"  {label}: {matrix.pooling}, {' x '.join(map(str, matrix.shape))}, {have:,} genes")
