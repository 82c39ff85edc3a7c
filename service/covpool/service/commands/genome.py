"""Register genomes whose genes and regions the service reads by name."""

import json
from pathlib import Path

import click

from covpool.service.commands.stores import open_store, store_option
from covpool.service.genomes import Genomes

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group
def genome() -> None:
    """Register genomes whose genes and regions the service reads by name.

    Example: covpool genome add ASM584v2 --fasta ecoli.fna --annotation ecoli.gff.gz
    """


@genome.command
@click.argument("name")
@click.option("--fasta", required=True, type=_FILE, help="Plain or bgzip FASTA; it must stay where it is.")
@click.option("--annotation", type=_FILE, help="GFF3 whose genes are found by id, symbol or alias.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="OTHER=CONTIG",
    help="A further name of a contig; repeatable.",
)
@store_option
def add(name: str, fasta: Path, annotation: Path | None, aliases: tuple[str, ...], store: str | None) -> None:
    """Register the assembly NAME, or register it anew.

    Example: covpool genome add R64 --fasta R64.fa --annotation sgd.gff3.gz --alias chrI=NC_001133.9
    """
    pairs = [alias.partition("=") for alias in aliases]
    if any(not (other and contig) for other, _, contig in pairs):
        raise click.UsageError("--alias is written OTHER=CONTIG")
    with open_store(store) as opened:
        genomes = Genomes(opened.catalog)
        for notice in genomes.add(name, fasta, annotation, {other: contig for other, _, contig in pairs}):
            click.echo(f"Notice: {notice}", err=True)
        found = genomes.get(name)
    bases = sum(found.contigs.values())
    click.echo(f"{name}: {len(found.contigs):,} contigs, {bases:,} bases, {found.genes:,} genes")


@genome.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per genome.")
@store_option
def list_genomes(as_json: bool, store: str | None) -> None:
    """List the registered genomes.

    Example: covpool genome list --json
    """
    with open_store(store) as opened:
        for one in Genomes(opened.catalog).all():
            row = {"name": one.name, "genes": one.genes, "fasta": str(one.fasta), "digest": one.digest}
            click.echo(json.dumps(row) if as_json else "\t".join(map(str, row.values())))


@genome.command
@click.argument("name")
@store_option
def remove(name: str, store: str | None) -> None:
    """Forget the assembly NAME; files and cached results stay.

    Example: covpool genome remove R64
    """
    with open_store(store) as opened:
        Genomes(opened.catalog).remove(name)
    click.echo(f"{name}: removed")
