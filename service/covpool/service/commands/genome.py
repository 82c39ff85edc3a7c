"""Register genomes whose genes and regions the service reads by name."""

import json
from pathlib import Path

import click

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.annotation.features.repairs import as_json as reported
from covpool.extractor.annotation.features.repairs import as_table
from covpool.extractor.sequences.genome import Genome
from covpool.service.assemblies.contig_names import ContigNames
from covpool.service.assemblies.registrations import Registration
from covpool.service.assemblies.registry import Genomes
from covpool.service.commands.options import (
    FILE,
    contig_options,
    json_option,
    store_option,
    strict_option,
    write_row,
)
from covpool.service.commands.stores import open_store


@click.group
def genome() -> None:
    """Register genomes whose genes and regions the service reads by name.

    Example: covpool genome add ASM584v2 --fasta ecoli.fna --annotation ecoli.gff.gz
    """


@genome.command
@click.argument("name")
@click.option("--fasta", required=True, type=FILE, help="Plain or bgzip FASTA; it must stay where it is.")
@click.option("--annotation", type=FILE, help="GFF3, GTF, BED or GenBank; plain, gzip or bgzip.")
@contig_options
@click.option("--release", default="", help="Of the annotation, as its publisher names it.")
@strict_option
@json_option("The registration and the repair report as JSON.")
@store_option
def add(
    name: str,
    fasta: Path,
    annotation: Path | None,
    contig_names: ContigNames,
    release: str,
    strict: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Register the assembly NAME, or register it again; reports the repairs of its annotation.

    Example: covpool genome add R64 --fasta R64.fa --annotation sgd.gff3.gz --aliases chrom_aliases.tsv
    """
    with open_store(store, create=True) as opened:
        added = Genomes(opened.database).add(
            name,
            fasta,
            annotation,
            contig_names.aliases,
            alias_table=contig_names.table,
            release=release,
            circular=contig_names.circular,
            strict=strict,
        )
    with Genome(added.fasta) as opened_fasta:
        notices = opened_fasta.notices
    if as_json:
        click.echo(json.dumps(_row(added) | {"report": reported(added.report), "notices": notices}))
        return
    bases = sum(added.contigs.values())
    click.echo(f"{name}: {len(added.contigs):,} contigs, {bases:,} bases, {added.genes:,} genes")
    for notice in notices:
        click.echo(f"Notice: {fasta.name}: {notice}")
    if annotation is not None:
        click.echo(as_table(added.report))


@genome.command("list")
@json_option("One JSON object per genome.")
@store_option
def list_genomes(as_json: bool, store: str | None) -> None:
    """List the registered genomes.

    Example: covpool genome list --json
    """
    with open_store(store) as opened:
        for registration in Genomes(opened.database).all():
            write_row(_row(registration), as_json)


@genome.command
@click.argument("name")
@store_option
def remove(name: str, store: str | None) -> None:
    """Remove the registration of the assembly NAME; files and cached results stay.

    Example: covpool genome remove R64
    """
    with open_store(store, writing=True) as opened:
        Genomes(opened.database).remove(name)
    click.echo(f"{name}: removed")


@genome.command
@click.argument("annotation", type=FILE)
@click.option("--fasta", type=FILE, help="Check contigs and their ends against this genome.")
@contig_options
@click.option("--strict", is_flag=True, help="Refuse a file with anything to repair or skip.")
@json_option("JSON on standard output.")
def check(
    annotation: Path, fasta: Path | None, contig_names: ContigNames, strict: bool, as_json: bool
) -> None:
    """Read ANNOTATION and report repairs and skipped parts; nothing is registered.

    Example: covpool genome check sgd.gff3.gz --fasta R64.fa
    """
    if fasta is None and contig_names != ContigNames():
        raise click.UsageError("--alias, --aliases and --circular name contigs of a genome: give --fasta")
    contigs, aliases, circular = None, dict[str, str](), frozenset[str]()
    if fasta is not None:
        with Genome(fasta) as opened:
            contigs = opened.contigs
        aliases, circular = contig_names.among(contigs)
    parsed = read_annotation(annotation, contigs, aliases=aliases, circular=circular, strict=strict)
    if as_json:
        body = {"format": parsed.format, "genes": len(parsed.genes), "report": reported(parsed.report)}
        click.echo(json.dumps(body))
        return
    click.echo(f"{annotation}: {parsed.format}, {len(parsed.genes):,} genes")
    click.echo(as_table(parsed.report))


def _row(registration: Registration) -> dict[str, object]:
    return {
        "name": registration.name,
        "genes": registration.genes,
        "fasta": str(registration.fasta),
        "digest": registration.digest,
        "release": registration.release,
        "annotation_digest": registration.annotation_digest,
    }
