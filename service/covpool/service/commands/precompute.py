"""Cache the moments of every gene of a genome, on this machine or a Dask cluster."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from covpool.extractor.annotation.annotation import read_annotation
from covpool.extractor.files.digests import file_digest
from covpool.extractor.models.models import describe, untrained_notice
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.genome import Genome
from covpool.service.assemblies.contig_names import ContigNames
from covpool.service.assemblies.plan import ALL_CLASSES, Plan, loci_of, make_plan
from covpool.service.assemblies.registry import Genomes
from covpool.service.bulk.executors import Executor
from covpool.service.bulk.run import run_plan
from covpool.service.commands.options import (
    FILE,
    contig_options,
    json_option,
    model_option,
    recipe_options,
    store_option,
    strict_option,
    writing_options,
)
from covpool.service.commands.stores import chosen_settings, open_store
from covpool.service.errors import GenomeNotFoundError
from covpool.service.extraction.work import Spec
from covpool.store.errors import StoreNotFoundError
from covpool.store.storage.locations import MEMORY
from covpool.store.storage.whole_files import Durability
from covpool.store.store import Store
from covpool.store.values.keys import Strand


@click.command
@click.option("--genome", "fasta", required=True, type=FILE, help="FASTA, plain or bgzip.")
@click.option("--annotation", required=True, type=FILE, help="GFF3, GTF, BED or GenBank.")
@click.option("--assembly", required=True, help="What the store calls the assembly.")
@click.option(
    "--selections",
    "classes",
    default="whole",
    show_default=True,
    metavar="CLASS,…",
    help=f"all, or of {', '.join(ALL_CLASSES)}.",
)
@click.option("--regions", hidden=True, help="Deprecated spelling of --selections.")
@contig_options
@strict_option
@click.option("--flank", type=click.IntRange(0), default=0, show_default=True, help="Bases on either side.")
@store_option
@writing_options
@model_option
@click.option("--layer", "layers", multiple=True, help="Repeatable; the model's default one when omitted.")
@recipe_options
@click.option("--beyond-context", is_flag=True, help="Take longer genes than documented.")
@click.option("--device", help="Torch device of the workers; CUDA where they have one.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each CPU worker.")
@click.option(
    "--workers", type=click.IntRange(1), help="A Dask cluster of so many processes on this machine."
)
@click.option("--scheduler", metavar="tcp://…", help="A Dask scheduler whose workers see the store.")
@click.option(
    "--verify", is_flag=True, help="Read what is cached back first; what is damaged is computed again."
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and do nothing.")
@json_option("Plan or report as JSON on standard output.")
def precompute(
    fasta: Path,
    annotation: Path,
    assembly: str,
    classes: str,
    regions: str | None,
    contig_names: ContigNames,
    strict: bool,
    flank: int,
    store: str | None,
    durability: Durability | None,
    codec: str | None,
    model: str,
    layers: tuple[str, ...],
    strand: Strand,
    species: str,
    beyond_context: bool,
    dtype: str,
    device: str | None,
    threads: int,
    workers: int | None,
    scheduler: str | None,
    verify: bool,
    only_plan: bool,
    as_json: bool,
) -> None:
    """Cache the moments of every gene of a genome, by selection; what is cached is not run.

    Runs in one process, in a local Dask cluster (--workers), or on an existing one (--scheduler), to the same
    bits where --threads and the kind of device are the same. It may be stopped or killed at any moment: the
    same command goes on with what is missing. The exit code is 1 when a gene failed or the run was stopped.

    Example: covpool precompute --genome R64.fa --annotation R64.gff3 --assembly R64 --flank 500 \
--selections whole,gene,upstream --store yeast.covpool --workers 2
    """
    if workers is not None and scheduler is not None:
        raise click.UsageError("give --workers or --scheduler, not both")
    if regions is not None:
        click.echo("Notice: --regions is deprecated: use --selections", err=True)
        classes = regions
    wanted = tuple(dict.fromkeys(name.strip() for name in classes.split(",")))
    wanted = ALL_CLASSES if wanted == ("all",) else wanted
    if unknown := [name for name in wanted if name not in ALL_CLASSES]:
        raise click.UsageError(f"--selections: {', '.join(unknown)!r} is none of {', '.join(ALL_CLASSES)}")
    described = describe(model)
    if not described.trained:
        click.echo(f"Notice: {untrained_notice(described)}", err=True)
    taps = tuple(dict.fromkeys(described.layer(name).name for name in layers or (None,)))
    options = Options(strand=strand, condition=species, beyond_context=beyond_context)
    chosen = device or _device(scheduler)
    settings = chosen_settings(store, durability=durability, codec=codec)
    with _opened(store, durability, codec, only_plan) as opened, Genome(fasta) as genome:
        for notice in genome.notices:
            click.echo(f"Notice: {fasta.name}: {notice}", err=True)
        aliases, circular = contig_names.among(genome.contigs)
        genes = read_annotation(annotation, genome.contigs, aliases=aliases, circular=circular, strict=strict)
        for finding in genes.report:
            click.echo(f"Notice: {annotation.name}: {finding}", err=True)
        planned = make_plan(
            opened,
            loci_of(genes, genome, flank=flank, classes=wanted),
            genome,
            assembly=assembly,
            model=described,
            layers=taps,
            options=options,
            dtype=dtype,
            device=chosen.partition(":")[0],
            verify=verify,
        )
        for notice in planned.notices:
            click.echo(f"Notice: {notice}", err=True)
        if only_plan:
            _write_plan(planned, as_json)
            return
        _register(opened, assembly, fasta, annotation, contig_names, genome)
        click.echo(_summary(planned), err=True)
        spec = Spec(
            # As every worker opens it.
            settings.store if "://" in settings.store else str(Path(settings.store).resolve()),
            settings.catalog,
            model,
            described.weights,
            dtype,
            chosen,
            threads,
            durability=settings.durability,
            codec=settings.codec,
        )
        start = partial(_start, spec, workers, scheduler)
        with _bar() as bar:
            report = run_plan(
                planned, opened, spec.store, start, bar=bar, write=lambda line: click.echo(line, err=True)
            )
    click.echo(json.dumps(report.as_json()) if as_json else report.as_table())
    if report.failed or report.interrupted:
        raise SystemExit(1)


def _opened(location: str | None, durability: Durability | None, codec: str | None, only_plan: bool) -> Store:
    """The store; without one, a plan is made for an empty store, and nothing is written."""
    if not only_plan:
        return open_store(location, create=True, durability=durability, codec=codec)
    try:
        return open_store(location)
    except StoreNotFoundError as error:
        click.echo(f"Notice: {error}; planned as for an empty one", err=True)
        return Store.open(MEMORY)


def _register(
    store: Store, assembly: str, fasta: Path, annotation: Path, contig_names: ContigNames, genome: Genome
) -> None:
    """Register the assembly, unless it is registered."""
    genomes = Genomes(store.database)
    try:
        current = genomes.get(assembly)
    except GenomeNotFoundError:
        current = None
    if current is not None and current.digest == genome.digest and current.contigs != genome.contigs:
        # Registered by an earlier version, which lost contigs of some files or counted their blanks.
        click.echo(f"Notice: {assembly}: was registered with other contigs; is registered again", err=True)
        current = None
    if current is None:
        current = genomes.add(
            assembly,
            fasta,
            annotation,
            contig_names.aliases,
            alias_table=contig_names.table,
            circular=contig_names.circular,
        )
        if current.digest != genome.digest:
            raise click.ClickException(f"{fasta}: changed while it was read; start again once it is written")
        return
    if current.digest != genome.digest:
        raise click.ClickException(
            f"{assembly} is the name of another FASTA file in this store; choose another --assembly, or "
            f"forget that one: covpool genome remove {assembly}"
        )
    if current.genes and current.annotation_digest != file_digest(annotation):
        click.echo(
            f"Notice: {assembly} is registered with another annotation, whose genes the service and covpool "
            f"export go by; covpool genome add {assembly} … registers this one",
            err=True,
        )


def _start(spec: Spec, workers: int | None, scheduler: str | None) -> Executor:
    if workers is None and scheduler is None:
        from covpool.service.bulk.executors import Local

        return Local(spec)
    _need_dask()
    from covpool.service.bulk.cluster import Cluster

    return Cluster(spec, scheduler=scheduler, workers=workers or 1)


def _device(scheduler: str | None) -> str:
    """The kind of device that the workers have."""
    if scheduler is not None:
        _need_dask()
        from covpool.service.bulk.cluster import device_of

        return device_of(scheduler)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _need_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise click.ClickException("a Dask cluster needs distributed: pip install 'covpool[dask]'") from error


def _summary(plan: Plan) -> str:
    return (
        f"{plan.assembly}: {plan.genes:,} genes, {len(plan.items):,} sequences, {plan.bases:,} bases; "
        f"{plan.matrices - plan.matrices_missing:,} of {plan.matrices:,} matrices are cached; "
        f"{len(plan.missing):,} sequences of {plan.bases_missing:,} bases to run, about "
        f"{plan.disk_bytes / 1e6:,.0f} MB"
    )


def _write_plan(plan: Plan, as_json: bool) -> None:
    packs = plan.packs()
    body = {
        "assembly": plan.assembly,
        "genes": plan.genes,
        "refused": plan.refused,
        "sequences": len(plan.items),
        "bases": plan.bases,
        "matrices": plan.matrices,
        "missing": {
            "sequences": len(plan.missing),
            "bases": plan.bases_missing,
            "matrices": plan.matrices_missing,
            "forwards": len(packs),
            "cost_bases": sum(map(plan.cost_of, packs)),
            "largest_forward_bases": plan.cost_of(packs[0]) if packs else 0,
            "disk_bytes": plan.disk_bytes,
        },
    }
    if as_json:
        click.echo(json.dumps(body))
        return
    click.echo(_summary(plan))
    missing = body["missing"]
    assert isinstance(missing, dict)
    click.echo(
        f"{missing['forwards']:,} forwards compute {missing['cost_bases']:,} bases, filler included; "
        f"the largest {missing['largest_forward_bases']:,}"
    )
    for gene, reason in plan.refused.items():
        click.echo(f"refused: {gene}: {reason}")


@contextmanager
def _bar() -> Iterator[Callable[[float, str], None] | None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(), TextColumn("{task.percentage:>5.1f} %  {task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)
