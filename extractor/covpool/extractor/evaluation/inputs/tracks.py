"""Signal tracks: a table of files in, log mean signal per gene out, on its own and on the other strand."""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from sys import maxsize

import numpy as np

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.genes import CodingGene, Contig
from covpool.extractor.evaluation.inputs.signal import Signal, Vector, read_signal
from covpool.extractor.evaluation.inputs.targets import Targets
from covpool.extractor.files.unreadable import read_lines

COLUMNS = ("sample", "strand", "file")
#: Number of contigs that a message lists.
_LISTED = 3


def track_targets(
    genes: list[CodingGene],
    table: str | PathLike[str],
    *,
    per_bases: float = 1.0,
    absent_is_zero: bool = False,
) -> Targets:
    """log(1 + mean signal per gene) of every sample, sense and, if it has strands, antisense.

    Genes on a contig that a file does not cover (see `signal.py`) are NaN in the columns of this file; the
    notes state how many. The strands of a sample are read independently.

    Args:
        genes: in genome order.
        table: a tab-separated table with a header that names the columns sample, strand ("+", "-", or "." for
            a track without strands) and file (bedGraph or wiggle, plain or compressed, or bigWig; relative to
            the table).
        per_bases: the mean is multiplied by this number of bases before the logarithm.
        absent_is_zero: contigs without any interval have signal 0.

    Raises:
        EvaluationError: the table or a track is damaged, a sample has one strand only, or a track shares no
            contig with the genes, or states another length for one.
    """
    table = Path(table)
    columns: dict[str, Vector] = {}
    missing: dict[str, list[str]] = defaultdict(list)
    for sample, files in _read_table(table).items():
        means = {}
        for strand, path in files.items():
            signal = signal_of(genes, path)
            _check_lengths(path, signal, _contigs(genes))
            means[strand] = signal.means(genes)
            if absent_is_zero:
                means[strand] = np.nan_to_num(means[strand])
            elif note := _missing(genes, signal):
                missing[note].append(sample + strand.strip("."))
        if "." in means:
            columns[sample] = means["."]
            continue
        forward = np.array([gene.strand != "-" for gene in genes])
        columns[f"{sample} sense"] = np.where(forward, means["+"], means["-"])
        columns[f"{sample} antisense"] = np.where(forward, means["-"], means["+"])
    low = [name for name, column in columns.items() if np.nan_to_num(column).min() < 0]
    if low:
        raise EvaluationError(
            f"{table}: {low[0]} has a negative mean signal, for which log(1 + x) is not defined; give signal "
            "from 0 up, minus strands too"
        )
    names = tuple(columns)
    values = np.log1p(per_bases * np.stack([columns[name] for name in names], axis=1))
    notes = tuple(f"{table}: {', '.join(samples)}: {note}" for note, samples in missing.items())
    return Targets("tracks", names, names, values.astype(np.float32), notes)


def mean_signal(genes: list[CodingGene], path: str | PathLike[str]) -> Vector:
    """(genes,) mean signal of a bedGraph, wiggle or bigWig file over each gene.

    NaN on contigs that the file does not cover, see `signal.py`.

    Raises:
        EvaluationError: the file is damaged, or covers none of the genes' contigs.
    """
    return signal_of(genes, path).means(genes)


def signal_of(genes: list[CodingGene], path: str | PathLike[str]) -> Signal:
    """A bedGraph, wiggle or bigWig file on the contigs of genes; see `signal.py`.

    Raises:
        EvaluationError: the file is damaged, or covers none of the contigs.
    """
    contigs = _contigs(genes)
    signal = read_signal(path, contigs.values())
    if not signal.intervals:
        raise EvaluationError(
            f"{path}: holds no interval on any contig of the genes ({_some(tuple(contigs))}) but on "
            f"{_some(signal.others) or 'none at all'}; give files with the same contig names, or an alias "
            "table with --aliases"
        )
    return signal


def _contigs(genes: list[CodingGene]) -> dict[str, Contig]:
    return {gene.chrom: gene.contig or Contig(gene.chrom, maxsize) for gene in genes}


def _check_lengths(path: Path, signal: Signal, contigs: Mapping[str, Contig]) -> None:
    for name, length in signal.lengths.items():
        if contigs[name].length not in (length, maxsize):
            raise EvaluationError(
                f"{path}: its header gives {name} {length:,} bases, the FASTA file {contigs[name].length:,}; "
                "give a track of the same assembly"
            )


def _missing(genes: list[CodingGene], signal: Signal) -> str:
    """A note on genes on contigs that a file does not cover; "" if it covers all."""
    counts = Counter(gene.chrom for gene in genes if gene.chrom not in signal.intervals)
    if not counts:
        return ""
    others = f"; {_some(signal.others)} of the file fits no contig with genes" if signal.others else ""
    return f"nothing on {_some(tuple(counts))}; genes without a value: {counts.total():,}{others}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


def _read_table(table: Path) -> Mapping[str, Mapping[str, Path]]:
    lines = [line for line in read_lines(table) if line.strip()]
    rows = list(csv.DictReader(lines, delimiter="\t"))
    if not rows or any(column not in rows[0] for column in COLUMNS):
        raise EvaluationError(
            f"{table}: the header must name {', '.join(COLUMNS)}, separated by tabs; rows follow"
        )
    samples: dict[str, dict[str, Path]] = defaultdict(dict)
    for number, row in enumerate(rows, start=2):
        sample, strand, name = (row[column] or "" for column in COLUMNS)
        if strand not in ("+", "-", "."):
            raise EvaluationError(f"{table}, line {number}: strand {strand!r} is not +, - or .")
        if strand in samples[sample]:
            raise EvaluationError(f"{table}, line {number}: sample {sample} has strand {strand} twice")
        samples[sample][strand] = table.parent / name
    for sample, files in samples.items():
        if set(files) not in ({"."}, {"+", "-"}):
            raise EvaluationError(f"{table}: sample {sample} needs a file for + and one for -, or one for .")
    return samples
