"""Evaluate embeddings of a genome's genes by linear probes: Gene Ontology terms, or signal tracks."""

from pathlib import Path
from typing import Any

import click

from covpool.extractor.evaluation.inputs.gene_terms import MIN_GENES, term_targets
from covpool.extractor.evaluation.inputs.genes import CodingGene, read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.evaluation.inputs.targets import Targets, with_targets
from covpool.extractor.evaluation.inputs.tracks import track_targets
from covpool.extractor.evaluation.report import write_report
from covpool.extractor.evaluation.scores import interval
from covpool.extractor.evaluation.splits import FOLDS
from covpool.extractor.models.models import describe
from covpool.extractor.models.options import Options
from covpool.extractor.sequences.fasta import read_fasta
from covpool.service.assemblies.contig_names import ContigNames
from covpool.service.commands.options import (
    FILE,
    contig_options,
    device_option,
    json_option,
    model_option,
    recipe_options,
    store_option,
    together,
    write_row,
)
from covpool.service.commands.stores import open_store
from covpool.service.evaluation.comparison import POOLINGS, Design
from covpool.service.evaluation.comparison import evaluate as results_of


def _refuse_tokens(_context: click.Context, _option: click.Parameter, used: bool) -> None:
    if used:
        raise click.UsageError(
            "--tokens was removed in 0.2, with the maximum and light attention; leave it out. What they "
            "reached is in docs/results.md"
        )


#: The options of both kinds of targets.
_common = together(
    click.argument("fasta", type=FILE),
    click.argument("annotation", type=FILE),
    click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
                 help="Directory for scores.parquet, table.md and scores.png."),
    store_option,
    model_option,
    click.option("--layer", "layers", multiple=True,
                 help="A layer of the model; its default one when omitted. Repeat to compare several."),
    recipe_options,
    device_option,
    click.option("--pooling", "poolings", multiple=True,
                 help=f"Instead of {', '.join(POOLINGS)}; repeat for several."),
    click.option("--tokens", is_flag=True, hidden=True, expose_value=False, callback=_refuse_tokens),
    click.option("--controls/--no-controls", default=True, show_default=True,
                 help="Compare one-hot windows and a random convolution too."),
    click.option("--untrained/--no-untrained", default=True, show_default=True,
                 help="Compare the same network with random weights too."),
    click.option("--leave-out", multiple=True, metavar="ATTRIBUTE=VALUE",
                 help="Leave out genes with this GFF3 attribute; repeat for several."),
    click.option("--split", type=click.Choice(["blocks", "chromosomes"]), default="blocks",
                 show_default=True, help="Held out together: contiguous blocks, or whole contigs."),
    click.option("--folds", type=click.IntRange(3), default=FOLDS, show_default=True,
                 help="Of the cross-validation."),
    click.option("--together", is_flag=True, help="Keep paralogues in one fold."),
    click.option("--part", type=click.Choice(["all", "development", "test"]), default="all",
                 show_default=True,
                 help="All folds in turn; all but the last, for choices; or only the last, once."),
    contig_options,
    click.option("--every", type=click.IntRange(1), default=1, help="Use one gene in so many."),
    json_option("One JSON object per result."),
)  # fmt: skip


#: Options that are fields of the design, under the same names.
_SAME = ("dtype", "device", "controls", "untrained", "split", "folds", "together", "part")


@click.group
def evaluate() -> None:
    """Probe frozen embeddings of a genome's genes, with baselines and controls.

    Example: covpool evaluate go genome.fa genes.gff3 --ontology go-basic.obo --terms genes.gaf --out results
    """


@evaluate.command
@_common
@click.option("--ontology", type=FILE, required=True, help="OBO file, plain or gzip.")
@click.option(
    "--terms",
    type=FILE,
    help="GAF, GPAD, or a table of genes and terms (eggNOG-mapper, InterProScan, UniProt, BioMart, …); the "
    "annotation's Ontology_term by default.",
)
@click.option(
    "--min-genes",
    type=click.IntRange(1),
    default=MIN_GENES,
    show_default=True,
    help="Terms with fewer genes are left out.",
)
def go(ontology: Path, terms: Path | None, min_genes: int, **common: Any) -> None:
    """Gene Ontology terms, propagated over is_a and part_of; scored by AUROC within folds.

    Example: covpool evaluate go genome.fa genes.gff3 --ontology go-basic.obo --terms genes.gaf --out results
    """
    genes, targets = term_targets(_genes(common), read_ontology(ontology), terms, min_genes=min_genes)
    _run(genes, targets, common)


@evaluate.command
@_common
@click.option(
    "--tracks",
    type=FILE,
    required=True,
    help="Table with the columns sample, strand (+, -, .) and file (bedGraph, wiggle or bigWig).",
)
@click.option(
    "--per-bases", type=float, default=1.0, show_default=True, help="Mean signal per so many bases."
)
@click.option(
    "--absent-is-zero",
    is_flag=True,
    help="Contigs that a track has no interval on have signal 0; they count as missing otherwise.",
)
def tracks(tracks: Path, per_bases: float, absent_is_zero: bool, **common: Any) -> None:
    """Signal tracks: log(1 + mean signal) of each gene, sense and antisense; scored by Pearson's r.

    Example: covpool evaluate tracks genome.fa genes.gff3 --tracks tracks.tsv --out results
    """
    genes = _genes(common)
    targets = track_targets(genes, tracks, per_bases=per_bases, absent_is_zero=absent_is_zero)
    _run(*with_targets(genes, targets), common)


def _genes(common: dict[str, Any]) -> list[CodingGene]:
    left_out = [attribute.partition("=") for attribute in common["leave_out"]]
    if any(not sign for _, sign, _ in left_out):
        raise click.UsageError("--leave-out needs ATTRIBUTE=VALUE, for example orf_classification=Dubious")
    names: ContigNames = common["contig_names"]
    aliases, circular = dict[str, str](), frozenset[str]()
    if names != ContigNames():
        aliases, circular = names.among(sequence.name for sequence in read_fasta(common["fasta"]))
    genes = read_coding_genes(
        common["fasta"],
        common["annotation"],
        leave_out=[(name, value) for name, _, value in left_out],
        aliases=aliases,
        circular=circular,
    )
    return genes[:: common["every"]]


def _run(genes: list[CodingGene], targets: Targets, common: dict[str, Any]) -> None:
    model = describe(common["model"])
    design = Design(
        model=model,
        layers=common["layers"] or (model.default_layer,),
        options=Options(strand=common["strand"], condition=common["species"]),
        poolings=common["poolings"] or POOLINGS,
        **{name: common[name] for name in _SAME},
    )
    for note in targets.notes:
        click.echo(note, err=True)
    click.echo(f"{len(genes):,} genes, {len(targets.names):,} {targets.kind}", err=True)
    results = []
    with open_store(common["store"], create=True) as store:
        for result in results_of(design, store, genes, targets, lambda text: click.echo(text, err=True)):
            results.append(result)
            low, high = interval(result.gene_draws)
            line = {
                "representation": result.name,
                "added_to": result.added_to,
                "numbers": result.numbers,
                "score": round(result.score, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "validation": round(float(result.validation.mean()), 4),
            }
            write_row(line, common["as_json"])
    for path in write_report(results, targets, common["out"]):
        click.echo(f"wrote {path}", err=True)
