"""Regenerate docs/results.md: what embeddings of `ntv3-mini` predict about genes, beside baselines."""

import argparse
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from covpool.extractor.evaluation.compare import Result
from covpool.extractor.evaluation.inputs.gene_terms import term_targets
from covpool.extractor.evaluation.inputs.genes import CodingGene, read_coding_genes
from covpool.extractor.evaluation.inputs.ontology import read_ontology
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.inputs.tracks import track_targets
from covpool.extractor.evaluation.report import figure, markdown, write_report
from covpool.extractor.evaluation.scores import interval
from covpool.extractor.models.models import describe
from covpool.service.evaluation.comparison import Design, evaluate
from covpool.store import Store

MODEL = "ntv3-mini"
#: Layers and poolings that are chosen between on development folds, before the test fold is looked at.
CANDIDATE_LAYERS = ("stem", "up.5", "up.6")
CANDIDATE_POOLINGS = ("mean", "mean+std", "covariance", "root-pca:528")
#: Signal of most tracks is a few counts in a gene: a mean per 100 bases is of order one.
PER_BASES = 100.0
DOCS = Path(__file__).parent.parent / "docs"


#: Poolings that are compared.
POOLINGS = (
    "mean",
    "mean+std",
    "second_moment",
    "covariance",
    "mean+covariance",
    "root",
    "root-pca:528",
    "eigenvectors:16",
    "glram:16",
)
#: What 4-mer frequencies and log length reach with a fixed penalty, as told beside the data.
FLOORS = {
    "ecoli-go": "AUROC 0.674",
    "yeast-go": "AUROC 0.663",
    "yeast-tracks": "Pearson r 0.37 sense, 0.20 antisense",
}
TITLES = {
    "ecoli-go": "E. coli: Gene Ontology",
    "yeast-go": "Yeast: Gene Ontology",
    "yeast-tracks": "Yeast: signal tracks",
    "choices": "Choices on development folds: E. coli, Gene Ontology",
}
#: Rows of poolings whose code is no longer there.
MEASURED_WITH_0_1 = """
`max` is the maximum of every feature over the tokens, `light attention` a pooling trained on the targets over bins of
32 bases. Both were measured with 0.1; the code was removed in 0.2.

| representation | numbers | AUROC | over targets | over genes | validation | with codons | gain | gain over targets | gain over genes |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| ntv3-mini: max | 64 | 0.6247 | 0.6180 to 0.6317 | 0.6181 to 0.6317 | 0.6182 | 0.7568 | -0.0004 | -0.0005 to -0.0002 | -0.0006 to -0.0001 |
| ntv3-mini: light attention | 128 | 0.7122 | 0.7051 to 0.7196 | 0.7058 to 0.7194 | 0.7043 | 0.7613 | +0.0041 | +0.0032 to +0.0049 | +0.0027 to +0.0056 |

- `light attention` beside codons against it alone: 0.7613 against 0.7572, **+0.0041** (over genes +0.0027 to +0.0056, over targets +0.0032 to +0.0049)
"""  # noqa: E501
#: The longest come first, so that processes end together; the page has them in the order of `TITLES`.
ORDER = ("yeast-go", "ecoli-go", "choices", "yeast-tracks")


@dataclass(frozen=True)
class Task:
    """One table of the page.

    Attributes:
        key: of `TITLES`.
        genes, targets: of it.
    """

    key: str
    genes: list[CodingGene]
    targets: Targets


def task(key: str, data: Path, scratch: Path, every: int) -> Task:
    """Genes and targets of a table."""
    if key in ("ecoli-go", "choices"):
        name = "GCF_000005845.2_ASM584v2_genomic"
        genes = read_coding_genes(data / f"ecoli/{name}.fna.gz", data / f"ecoli/{name}.gff.gz")
        table: Path | None = data / "ecoli/genes.tsv.gz"
    else:
        genes = read_coding_genes(
            data / "yeast/genome.fa.gz",
            data / "yeast/sgd_R64.gff3.gz",
            leave_out=[("orf_classification", "Dubious")],
        )
        table = None
    genes = genes[::every]
    if key == "yeast-tracks":
        tracks = stranded(data / "yeast/tracks/manifest.tsv", scratch)
        # The data's README: intervals that are absent are zeros.
        targets = track_targets(genes, tracks, per_bases=PER_BASES, absent_is_zero=True)
        return Task(key, genes, targets)
    return Task(key, *term_targets(genes, read_ontology(data / "go/go-basic.2022-07-01.obo.gz"), table))


def stranded(manifest: Path, scratch: Path) -> Path:
    """The table of the tracks that have strands; the others cover parts of the genome only."""
    header, *lines = manifest.read_text(encoding="utf-8").splitlines()
    columns = {name: index for index, name in enumerate(header.split("\t"))}
    rows = [line.split("\t") for line in lines]
    folder = manifest.parent.parent.resolve()
    wanted = [
        f"{row[columns['sample']]}\t{row[columns['strand']]}\t{folder / row[columns['file']]}"
        for row in rows
        if row[columns["strand"]] in "+-"
    ]
    scratch.mkdir(parents=True, exist_ok=True)
    table = scratch / "tracks.tsv"
    table.write_text("\n".join(["sample\tstrand\tfile", *wanted]) + "\n", encoding="utf-8")
    return table


def compared(first: Result, second: Result, what: str) -> str:
    """One line: a paired difference with its intervals."""
    low, high = interval(first.gene_draws - second.gene_draws)
    less, more = interval(first.target_draws - second.target_draws)
    return (
        f"- {what}: {first.score:.4f} against {second.score:.4f}, **{first.score - second.score:+.4f}** "
        f"(over genes {low:+.4f} to {high:+.4f}, over targets {less:+.4f} to {more:+.4f})"
    )


def in_short(results: list[Result]) -> str:
    """The comparisons that decide, with whatever sign they have."""
    alone = {one.name: one for one in results if not one.added_to}
    beside = [one for one in results if one.added_to and one.group == "model"]
    own = [one for one in alone.values() if one.group == "model"]
    best = max(own, key=lambda one: one.validation.mean())
    kind = best.name.partition(": ")[2]
    baseline = alone[beside[0].added_to]
    added = max(beside, key=lambda one: one.validation.mean())
    lines = [
        compared(best, alone[f"{MODEL}: mean"], f"best pooling by validation (`{kind}`) against the mean"),
        compared(alone[f"{MODEL}: second_moment"], alone[f"{MODEL}: mean"], "second moment against the mean"),
        compared(
            alone[f"{MODEL}: covariance"],
            alone["untrained: covariance"],
            "`covariance` of the trained network against the untrained one",
        ),
        compared(
            best,
            alone["one-hot windows: second_moment"],
            f"`{kind}` against second moments of one-hot windows",
        ),
        compared(best, baseline, f"`{kind}` against the strongest baseline ({baseline.name})"),
        compared(
            added,
            baseline,
            f"`{added.name.partition(': ')[2]}` (best by validation) beside {baseline.name} against it alone",
        ),
    ]
    return "\n".join(lines) + "\n"


def development(design: Design, task: Task, store: Store) -> str:
    """Choices on development folds, and the test fold once: Markdown."""
    candidates = replace(
        design,
        layers=CANDIDATE_LAYERS,
        poolings=CANDIDATE_POOLINGS,
        controls=False,
        untrained=False,
    )
    found = list(evaluate(replace(candidates, part="development"), store, task.genes, task.targets, tell))
    own = [one for one in found if one.group == "model"]
    chosen = [
        max((one for one in own if bool(one.added_to) == both), key=lambda one: one.score)
        for both in (False, True)
    ]
    default = f"{MODEL} {design.model.default_layer}: mean"
    wanted = {one.name for one in chosen} | {default}
    layers = tuple(name for name in CANDIDATE_LAYERS if any(f" {name}: " in one for one in wanted))
    tested = [
        one
        for one in evaluate(
            replace(
                candidates,
                part="test",
                layers=layers if len(layers) > 1 else CANDIDATE_LAYERS[-2:],
                poolings=tuple({one.partition(": ")[2] for one in sorted(wanted)}),
            ),
            store,
            task.genes,
            task.targets,
            tell,
        )
        if one.name in wanted or one.group == "baseline"
    ]
    lines = [
        f"{len(CANDIDATE_LAYERS)} layers and {len(CANDIDATE_POOLINGS)} poolings, alone and beside the "
        f"baseline, on {design.folds - 1} of {design.folds} folds (the last one left out altogether). "
        f"Chosen: **{chosen[0].name}** alone ({chosen[0].score:.4f}), **{chosen[1].name}** beside "
        f"{chosen[1].added_to} ({chosen[1].score:.4f}).\n",
        markdown(found, task.targets),
        "The test fold, trained on the other four, looked at once:\n",
        markdown(tested, task.targets),
    ]
    return "\n".join(lines)


def tell(text: str) -> None:
    """Progress, with the time of day and the processor seconds of this process so far."""
    print(f"  {time.strftime('%H:%M:%S')} {time.process_time():6.0f} s  {text}", flush=True)


def section(task: Task, results: list[Result]) -> str:
    """Floor, comparisons, table and figure of a task."""
    lines = [
        f"{len(task.genes):,} genes, {len(task.targets.names):,} {task.targets.kind}. Floor that comes with "
        f"the data (4-mer frequencies and log length, fixed penalty): {FLOORS[task.key]}.\n",
        in_short(results),
        f"![scores](results/{task.key}.png)\n",
        markdown(results, task.targets),
    ]
    if task.key == "ecoli-go":
        lines.append(MEASURED_WITH_0_1)
    return "\n".join(lines)


def run(key: str, data: Path, scratch: Path, docs: Path, every: int, threads: int) -> tuple[str, float]:
    """The section of a task, its figure written, and the processor seconds it took."""
    torch.set_num_threads(threads)
    begin = time.process_time()
    found = task(key, data, scratch, every)
    tell(f"{key}: {len(found.genes)} genes, {len(found.targets.names)} {found.targets.kind}")
    model = describe(MODEL)
    design = Design(model=model, layers=(model.default_layer,), poolings=POOLINGS)
    with Store.open(scratch / "store") as store:
        if key == "choices":
            text = development(design, found, store)
        else:
            hear = partial(_tell_of, key)
            results = list(evaluate(design, store, found.genes, found.targets, hear))
            write_report(results, found.targets, scratch / key)
            figure(results, found.targets).savefig(docs / "results" / f"{key}.png", dpi=110)
            text = section(found, results)
    return f"## {TITLES[key]}\n\n{text}", time.process_time() - begin


def _tell_of(key: str, text: str) -> None:
    tell(f"{key}: {text}")


def page(sections: Iterable[str], minutes: float, processor: float) -> str:
    """The whole page."""
    model = describe(MODEL)
    heading = f"""# Results: what embeddings of `{model.name}` predict

Written by `make results` ({processor:.0f} minutes of processor time, {minutes:.0f} by the clock, less where
moments are cached); every number without another note comes from that run. Model: `{model.name}`, layer
`{model.default_layer}`, weights `{model.weights[:12]}`. Data: E. coli K-12 MG1655, and S. cerevisiae S288C
without dubious ORFs; a gene is its whole span on its strand, without flanks.

How to read it:

- **Protocol.** Ridge probes on five folds of two contiguous blocks each. In each fold the penalty is chosen
  by the next fold, on a grid that grows until its best is inside, the same search for every row. AUROC
  (terms) and Pearson's r (tracks) are computed within folds and averaged. Every row has the log length too.
- **Intervals** are 95 % bootstrap intervals, over targets and over genes. Differences are paired.
- **with …**: the row beside the strongest baseline (by validation), its weight chosen by the same fold;
  **gain** is against that baseline alone.
- **Controls.** `untrained` is the same network with random weights, `random convolution` one random layer of
  the same width, `one-hot windows` the 33 bases around each base without any network. What their second
  moments reach is owed to the pooling, not to training.
- `root-pca`, `glram` and `eigenvectors` are fitted anew on the training genes of every fold.
- GO terms are propagated over is_a and part_of; at least 30 genes, roots dropped. Tracks are log(1 + mean
  signal per {PER_BASES:.0f} bases); those without strands cover parts of the genome only and are left out.
- The network was pre-trained, without labels, on these two genomes: nothing here is about unseen genomes.
"""
    return "\n".join([heading, *sections])


def main() -> None:
    """Run everything and write the page, its figures, and the scores as Parquet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the real genomes")
    parser.add_argument("--scratch", type=Path, default=Path("build/results"), help="store and Parquet files")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    parser.add_argument("--every", type=int, default=1, help="one gene in so many, to try it")
    parser.add_argument("--processes", type=int, default=2, help="tables made at once")
    options = parser.parse_args()
    begin = time.monotonic()
    (options.docs / "results").mkdir(parents=True, exist_ok=True)
    options.scratch.mkdir(parents=True, exist_ok=True)
    # One thread each: tables are independent, threads of one table wait for each other.
    threads = max(1, (os.cpu_count() or 1) // options.processes)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        given = options.data, options.scratch, options.docs, options.every, threads
        jobs = {key: pool.submit(run, key, *given) for key in ORDER}
        made = {key: jobs[key].result() for key in TITLES}
    processor = sum(seconds for _, seconds in made.values())
    text = page((text for text, _ in made.values()), (time.monotonic() - begin) / 60, processor / 60)
    (options.docs / "results.md").write_text(text, encoding="utf-8")
    tell(f"wrote {options.docs / 'results.md'}")


if __name__ == "__main__":
    main()
