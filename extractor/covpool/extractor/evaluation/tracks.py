"""Signal tracks: bedGraph and bigWig files in, log mean signal per gene out, on its own and the other strand.

Convention: intervals are 0-based half-open, as in both formats; bases without an interval have signal 0.
bigWig is read by pybigtools.
"""

import csv
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pybigtools
from xopen import xopen

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.genes import CodingGene
from covpool.extractor.evaluation.targets import Targets

Vector = npt.NDArray[np.float64]
Intervals = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vector]

COLUMNS = ("sample", "strand", "file")
_BIGWIG = (".bw", ".bigwig")


def track_targets(genes: list[CodingGene], table: Path, *, per_bases: float = 1.0) -> Targets:
    """log(1 + mean signal per gene) of every sample, sense and, where it has strands, antisense.

    Args:
        genes: in genome order.
        table: a tab-separated table with a header that names the columns sample, strand ("+", "-", or "." for
            a track without strands) and file (bedGraph, plain or gzip, or bigWig; relative to the table).
        per_bases: the mean is taken per so many bases, before the logarithm.

    Raises:
        EvaluationError: the table or a track is damaged, a sample has one strand only, or a track shares no
            contig with the genes.
    """
    columns: dict[str, Vector] = {}
    for sample, files in _read_table(table).items():
        means = {strand: mean_signal(genes, path) for strand, path in files.items()}
        if "." in means:
            columns[sample] = means["."]
            continue
        forward = np.array([gene.strand != "-" for gene in genes])
        columns[f"{sample} sense"] = np.where(forward, means["+"], means["-"])
        columns[f"{sample} antisense"] = np.where(forward, means["-"], means["+"])
    low = [name for name, column in columns.items() if column.min() < 0]
    if low:
        raise EvaluationError(
            f"{table}: {low[0]} has a negative mean signal, of which there is no log(1 + x); give signal "
            "from 0 up, minus strands too"
        )
    names = tuple(columns)
    values = np.log1p(per_bases * np.stack([columns[name] for name in names], axis=1))
    return Targets("tracks", names, names, values.astype(np.float32))


def mean_signal(genes: list[CodingGene], path: Path) -> Vector:
    """(genes,) mean signal of a bedGraph or bigWig file over each gene.

    Raises:
        EvaluationError: the file is damaged or names none of the genes' contigs.
    """
    contigs = {gene.chrom for gene in genes}
    is_bigwig = path.suffix.lower() in _BIGWIG
    found = _read_bigwig(path, contigs) if is_bigwig else _read_bedgraph(path, contigs)
    if not found:
        raise EvaluationError(
            f"{path}: holds no interval on any contig of the genes ({', '.join(sorted(contigs)[:3])}, ...); "
            "give files that name contigs alike"
        )
    means = np.zeros(len(genes))
    for chrom, intervals in found.items():
        own = [index for index, gene in enumerate(genes) if gene.chrom == chrom]
        starts = np.array([genes[index].start for index in own])
        ends = np.array([genes[index].end for index in own])
        means[own] = (_sum_to(ends, intervals) - _sum_to(starts, intervals)) / (ends - starts)
    return means


def _sum_to(positions: npt.NDArray[np.int64], intervals: Intervals) -> Vector:
    """Sum of the signal over all bases before each position; intervals are sorted and do not overlap."""
    starts, ends, values = intervals
    total = np.concatenate(([0.0], np.cumsum(values * (ends - starts))))
    last = np.searchsorted(starts, positions, side="left") - 1
    inside = np.minimum(positions, ends[last]) - starts[last]
    summed: Vector = np.where(last >= 0, total[last] + values[last] * inside, 0.0)
    return summed


def _read_bedgraph(path: Path, contigs: set[str]) -> dict[str, Intervals]:
    found: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    number = 0
    try:
        with xopen(path, "rt", encoding="utf-8", threads=0) as file:
            for line in file:
                number += 1
                words = line.split()
                if not words or words[0] in ("track", "browser") or words[0].startswith("#"):
                    continue
                if words[0] in contigs:
                    found[words[0]].append((int(words[1]), int(words[2]), float(words[3])))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise EvaluationError(f"{path}: cannot be read after line {number} ({error})") from error
    except (ValueError, IndexError) as error:
        raise EvaluationError(f"{path}, line {number}: not bedGraph (chrom, start, end, value)") from error
    return {chrom: _intervals(rows, path, chrom) for chrom, rows in found.items()}


def _read_bigwig(path: Path, contigs: set[str]) -> dict[str, Intervals]:
    found: dict[str, Intervals] = {}
    try:
        with pybigtools.open(str(path)) as file:
            for chrom, length in file.chroms().items():
                rows = list(file.records(chrom, 0, length)) if chrom in contigs else []
                if rows:
                    found[chrom] = _intervals(rows, path, chrom)
    except (OSError, ValueError, pybigtools.BBIReadError, pybigtools.BBIFileClosed) as error:
        raise EvaluationError(f"{path}: cannot be read as bigWig ({error})") from error
    return found


def _intervals(rows: Iterable[tuple[int, int, float]], path: Path, chrom: str) -> Intervals:
    table = np.array(sorted(rows), dtype=np.float64)
    starts, ends = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    if (starts < 0).any() or (starts >= ends).any() or (starts[1:] < ends[:-1]).any():
        raise EvaluationError(f"{path}: intervals on {chrom} overlap or end before they start")
    if not np.isfinite(table[:, 2]).all():
        raise EvaluationError(f"{path}: a value on {chrom} is not finite")
    return starts, ends, table[:, 2]


def _read_table(table: Path) -> Mapping[str, Mapping[str, Path]]:
    try:
        with xopen(table, "rt", encoding="utf-8", newline="", threads=0) as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise EvaluationError(f"{table}: cannot be read ({error})") from error
    if not rows or any(column not in rows[0] for column in COLUMNS):
        raise EvaluationError(f"{table}: the header must name {', '.join(COLUMNS)}, and rows follow it")
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
