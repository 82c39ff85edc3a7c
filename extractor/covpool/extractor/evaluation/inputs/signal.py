"""Signal along contigs: bedGraph, wiggle and bigWig files in, mean signal per gene out.

Convention: intervals are 0-based half-open. On a contig that a file covers, bases without an interval have
signal 0. A file covers the contigs of its intervals, and a bigWig those in its header; the signal on other
contigs is unknown. bigWig is read by pybigtools.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from sys import maxsize

import numpy as np
import numpy.typing as npt
import pybigtools
from xopen import xopen

from covpool.extractor.annotation.contigs import translation
from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.genes import CodingGene, Contig
from covpool.extractor.files.unreadable import PACKED, unreadable

Vector = npt.NDArray[np.float64]
Intervals = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vector]
Row = tuple[int, int, float]
#: Columns of rows; arrays, because a human track has millions of rows.
Rows = tuple["array[int]", "array[int]", "array[float]"]

_BIGWIG_SUFFIXES = (".bw", ".bigwig")
_BIGWIG_MAGIC = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
#: First words of display lines, and of a line of titles.
_ASIDES = ("track", "browser")
_TITLES = ("chrom", "chr", "chromosome", "seqnames", "seqid")


@dataclass(frozen=True)
class Signal:
    """The signal of a file on some contigs.

    Attributes:
        intervals: sorted, by the contig name of the genes, for contigs that the file covers.
        lengths: of contigs, if the file states them.
        others: contigs of the file without genes.
    """

    intervals: Mapping[str, Intervals] = field(repr=False)
    lengths: Mapping[str, int]
    others: tuple[str, ...]

    def means(self, genes: Iterable[CodingGene]) -> Vector:
        """(genes,) mean signal over each gene; NaN on contigs that the file does not cover."""
        listed = list(genes)
        means = np.full(len(listed), np.nan)
        for chrom, intervals in self.intervals.items():
            own = [index for index, gene in enumerate(listed) if gene.chrom == chrom]
            starts = np.array([listed[index].start for index in own], np.int64)
            ends = np.array([listed[index].end for index in own], np.int64)
            total = _sum_to(ends, intervals) - _sum_to(starts, intervals)
            # A gene over the origin of a circular contig continues at its first base.
            lengths = [contig.length if (contig := listed[index].contig) else maxsize for index in own]
            around = np.maximum(0, ends - np.array(lengths, np.int64))
            means[own] = (total + _sum_to(around, intervals)) / (ends - starts)
        return means


def read_signal(path: str | PathLike[str], contigs: Iterable[Contig]) -> Signal:
    """The signal of a file on contigs; the file may use any of their names, such as MT for chrM.

    Args:
        path: bedGraph or wiggle, plain or compressed, or bigWig.
        contigs: the contigs to read.

    Raises:
        EvaluationError: the file is damaged, its intervals overlap, or lie after the end of a contig.
    """
    path = Path(path)
    by_name = {contig.name: contig for contig in contigs}
    aliases = {other: name for name, contig in by_name.items() for other in contig.other_names}
    lengths: dict[str, int] = {}
    if _is_bigwig(path):
        rows, lengths = _read_bigwig(path, by_name, aliases)
    else:
        rows = _read_text(path)
    names = _names(rows, by_name, aliases)
    joined: dict[str, list[Rows]] = defaultdict(list)
    for chrom, columns in rows.items():
        if chrom in names:
            joined[names[chrom]].append(columns)
    intervals = {name: _intervals(columns, path, by_name[name]) for name, columns in joined.items()}
    named_lengths = {names[chrom]: length for chrom, length in lengths.items() if chrom in names}
    return Signal(intervals, named_lengths, tuple(chrom for chrom in rows if chrom not in names))


def _names(used: Iterable[str], by_name: Mapping[str, Contig], aliases: Mapping[str, str]) -> dict[str, str]:
    return translation(used, {name: contig.length for name, contig in by_name.items()}, aliases, {})


def _sum_to(positions: npt.NDArray[np.int64], intervals: Intervals) -> Vector:
    """Sum of the signal over all bases before each position; intervals are sorted and do not overlap."""
    starts, ends, values = intervals
    if not len(starts):
        return np.zeros(len(positions))
    total = np.concatenate(([0.0], np.cumsum(values * (ends - starts))))
    last = np.searchsorted(starts, positions, side="left") - 1
    inside = np.minimum(positions, ends[last]) - starts[last]
    summed: Vector = np.where(last >= 0, total[last] + values[last] * inside, 0.0)
    return summed


def _is_bigwig(path: Path) -> bool:
    if path.suffix.lower() in _BIGWIG_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) in _BIGWIG_MAGIC
    except OSError:
        # The reader reports the error.
        return False


def _read_text(path: Path) -> dict[str, Rows]:
    """Intervals by contig of bedGraph and wiggle, which one file may mix."""
    rows: dict[str, Rows] = defaultdict(_rows)
    block: _Block | None = None
    number = 0
    try:
        with xopen(path, "rt", encoding="utf-8-sig", threads=0) as file:
            for line in file:
                number += 1
                words = line.split()
                if not words or words[0] in _ASIDES or line.startswith("#") or _is_title(number, words):
                    continue
                if words[0] in ("fixedStep", "variableStep"):
                    block = _Block.declared(words)
                elif block is not None and len(words) <= 2:
                    _add(rows[block.chrom], block.row(words))
                else:
                    block = None
                    _add(rows[words[0]], (int(words[1]), int(words[2]), float(words[3])))
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: is not text; give bedGraph, wiggle or bigWig") from error
    except (ValueError, IndexError, KeyError) as error:
        raise EvaluationError(
            f"{path}, line {number}: not bedGraph (chrom, start, end, value) and no wiggle; correct it, or "
            "give bigWig"
        ) from error
    except (OSError, *PACKED) as error:
        raise EvaluationError(unreadable(error, str(path), f"after line {number}")) from error
    return dict(rows)


def _is_title(number: int, words: list[str]) -> bool:
    return number == 1 and words[0].casefold() in _TITLES and not any(word.isdigit() for word in words)


def _rows() -> Rows:
    return array("q"), array("q"), array("d")


def _add(rows: Rows, row: Row) -> None:
    starts, ends, values = rows
    starts.append(row[0])
    ends.append(row[1])
    values.append(row[2])


@dataclass
class _Block:
    """A block of a wiggle file; its positions count from 1."""

    chrom: str
    span: int
    step: int
    start: int | None

    @classmethod
    def declared(cls, words: list[str]) -> "_Block":
        """The block of a declaration line: fixedStep chrom=chr1 start=1 step=10 span=5."""
        values = dict(word.split("=", 1) for word in words[1:])
        fixed = words[0] == "fixedStep"
        start = int(values["start"]) if fixed else None
        return cls(values["chrom"], int(values.get("span", 1)), int(values.get("step", 1)), start)

    def row(self, words: list[str]) -> Row:
        """The interval of one line: a value, or a position and a value."""
        if self.start is None:
            start, value = int(words[0]), float(words[1])
        else:
            (word,) = words
            start, value = self.start, float(word)
            self.start += self.step
        return start - 1, start - 1 + self.span, value


def _read_bigwig(
    path: Path, by_name: Mapping[str, Contig], aliases: Mapping[str, str]
) -> tuple[dict[str, Rows], dict[str, int]]:
    """Intervals (only of contigs with genes) and lengths, by the contig names in the file's header."""
    try:
        # Opened as a file object: pybigtools accepts a path only with the suffix .bw.
        with path.open("rb") as raw, pybigtools.open(raw) as file:
            lengths: dict[str, int] = dict(file.chroms())
            names = _names(lengths, by_name, aliases)
            rows: dict[str, Rows] = {chrom: _rows() for chrom in lengths}
            for chrom in names:
                for row in file.records(chrom, 0, lengths[chrom]):
                    _add(rows[chrom], row)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise EvaluationError(unreadable(error, str(path))) from error
    except (OSError, ValueError, pybigtools.BBIReadError, pybigtools.BBIFileClosed) as error:
        raise EvaluationError(
            f"{path}: cannot be read as bigWig ({error}); it is of another format, damaged or cut off"
        ) from error
    return rows, lengths


def _intervals(parts: list[Rows], path: Path, contig: Contig) -> Intervals:
    starts, ends = (np.concatenate([np.array(part[n], np.int64) for part in parts]) for n in (0, 1))
    values = np.concatenate([np.array(part[2], np.float64) for part in parts])
    order = np.lexsort((ends, starts))
    starts, ends, values = starts[order], ends[order], values[order]
    if not len(starts):
        return starts, ends, values
    wrong = (starts < 0) | (starts >= ends)
    # Rows that begin before the end of the previous row.
    wrong[1:] |= starts[1:] < ends[:-1]
    if wrong.any():
        place = int(wrong.argmax())
        raise EvaluationError(
            f"{path}: intervals on {contig.name} overlap or end before they start, at {starts[place]:,} to "
            f"{ends[place]:,}; give one value for each base"
        )
    if not np.isfinite(values).all():
        raise EvaluationError(f"{path}: a value on {contig.name} is not finite; leave its interval out")
    if starts[-1] >= contig.length:
        raise EvaluationError(
            f"{path}: an interval begins at {starts[-1]:,} of {contig.name}, which has {contig.length:,} "
            "bases in the FASTA file; give a track of the same assembly, or clip it (bedClip)"
        )
    return starts, np.minimum(ends, contig.length), values
