"""Report of a comparison: a Parquet file of scores, a Markdown table, a figure."""

from collections.abc import Sequence as Ordered
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from covpool.extractor.evaluation.compare import Result
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.evaluation.scores import interval

SCORES, TABLE, FIGURE = "scores.parquet", "table.md", "scores.png"
_COLOURS = {"baseline": "#888888", "model": "#1f6fb4", "control": "#c7762b"}


def scores_table(results: Ordered[Result], targets: Targets) -> pa.Table:
    """One row per representation, baseline that it was added to, fold and target; null if not scored."""
    parts = []
    for result in results:
        folds, count = result.scores.shape
        rows = folds * count
        r2 = np.full(rows, np.nan) if result.r2 is None else result.r2.ravel()
        columns = {
            "representation": pa.array([result.name] * rows).dictionary_encode(),
            "group": pa.array([result.group] * rows).dictionary_encode(),
            "added_to": pa.array([result.added_to] * rows).dictionary_encode(),
            "numbers": pa.array(np.full(rows, result.numbers)),
            "fold": pa.array(np.repeat(result.folds, count)),
            "target": pa.array(list(targets.names) * folds).dictionary_encode(),
            "title": pa.array(list(targets.titles) * folds).dictionary_encode(),
            "score": pa.array(result.scores.ravel(), from_pandas=True),
            "r2": pa.array(r2, from_pandas=True),
            "log10_penalty": pa.array(np.repeat(result.penalties, count)),
            "log10_weight": pa.array(np.repeat(result.weights, count), from_pandas=True),
            "validation": pa.array(np.repeat(result.validation, count)),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts).unify_dictionaries()


def markdown(results: Ordered[Result], targets: Targets) -> str:
    """A table with one row per representation: its score alone and added to the strongest baseline.

    Scores are means over folds of means over targets, with the 95 % bootstrap intervals over targets and over
    genes. "Gain" is paired: the representation added to the baseline, minus the baseline.
    """
    alone = {result.name: result for result in results if not result.added_to}
    added = {result.name: result for result in results if result.added_to}
    baseline = next((result.added_to for result in added.values()), "")
    named = "AUROC" if targets.kind == "terms" else "Pearson r"
    shares = _shares(targets)
    header = ["representation", "numbers", named, "over targets", "over genes"]
    header += [f"r, {name}" for name in shares] + (["R²"] if targets.kind == "tracks" else [])
    header += (
        ["validation", f"with {baseline}", "gain", "gain over targets", "gain over genes"] if added else []
    )
    lines = [_row(header), _row(["---"] * len(header))]
    for result in alone.values():
        cells = [result.name, f"{result.numbers:,}", f"{result.score:.4f}"]
        cells += [_interval(result.target_draws), _interval(result.gene_draws)]
        cells += [f"{np.nanmean(result.scores[:, columns]):.3f}" for columns in shares.values()]
        cells += [] if result.mean_r2 is None else [f"{result.mean_r2:.4f}"]
        if added:
            cells.append(f"{result.validation.mean():.4f}")
        if (both := added.get(result.name)) is not None:
            base = alone[baseline]
            cells += [f"{both.score:.4f}", f"{both.score - base.score:+.4f}"]
            cells += [
                _interval(both.target_draws - base.target_draws, signed=True),
                _interval(both.gene_draws - base.gene_draws, signed=True),
            ]
        cells += [""] * (len(header) - len(cells))
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def figure(results: Ordered[Result], targets: Targets) -> Figure:
    """Scores with intervals over genes (thick) and targets (thin); open marks: added to the baseline."""
    alone = [result for result in results if not result.added_to]
    place = {result.name: -index for index, result in enumerate(alone)}
    drawn = Figure(figsize=(7.5, 0.9 + 0.27 * len(alone)), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot()
    for result in results:
        y = place[result.name] - (0.3 if result.added_to else 0)
        colour = _COLOURS[result.group]
        axes.hlines(y, *interval(result.target_draws), color=colour, linewidth=0.8)
        axes.hlines(y, *interval(result.gene_draws), color=colour, linewidth=2.4, alpha=0.5)
        face = "white" if result.added_to else colour
        axes.plot(result.score, y, "o", markersize=4.5, color=colour, markerfacecolor=face)
    axes.set_yticks(list(place.values()), list(place), fontsize=8)
    axes.set_xlabel("AUROC" if targets.kind == "terms" else "Pearson r")
    axes.grid(axis="x", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn


def write_report(
    results: Ordered[Result], targets: Targets, directory: str | PathLike[str]
) -> tuple[Path, Path, Path]:
    """Write scores, table and figure into a directory, which is created if needed; return their paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / SCORES, directory / TABLE, directory / FIGURE
    pq.write_table(scores_table(results, targets), paths[0])
    paths[1].write_text(markdown(results, targets), encoding="utf-8")
    figure(results, targets).savefig(paths[2], dpi=130)
    return paths


def _shares(targets: Targets) -> dict[str, list[int]]:
    """Columns of sense and of antisense tracks, without a strand that has none."""
    if targets.kind != "tracks":
        return {}
    columns_of_strand = {
        strand: [index for index, name in enumerate(targets.names) if name.endswith(f" {strand}")]
        for strand in ("sense", "antisense")
    }
    return {strand: columns for strand, columns in columns_of_strand.items() if columns}


def _interval(draws: "np.typing.NDArray[np.float64]", *, signed: bool = False) -> str:
    low, high = interval(draws)
    return f"{low:+.4f} to {high:+.4f}" if signed else f"{low:.4f} to {high:.4f}"


def _row(cells: Ordered[str]) -> str:
    return "| " + " | ".join(cells) + " |"
