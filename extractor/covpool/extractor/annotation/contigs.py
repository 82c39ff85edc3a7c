"""Contig names: chr1, 1 and NC_000001.11 are one contig; which of them a FASTA file uses decides."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from covpool.extractor.annotation.features.features import Features
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.errors import AnnotationError

_MITOCHONDRION = frozenset(("M", "MT", "Mt", "Mito", "mt", "mitochondrion", "MtDNA"))

#: Columns of an alias table that name no contig.
_NO_NAMES = frozenset(("length", "size", "source"))


def read_aliases(path: Path, contigs: Iterable[str]) -> dict[str, str]:
    """Other names of contigs from a table with one contig a row, its names apart by tabs.

    Columns headed length, size or source are passed over, and rows that name no contig of the FASTA file.

    Args:
        path: tab-separated text with a header; UCSC's chromAlias.txt is one.
        contigs: names in the FASTA file.

    Raises:
        AnnotationError: it cannot be read, or no row names a contig.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise AnnotationError(
            f"{path}: is no table of contig names ({error}); give text with tabs"
        ) from error
    known = set(contigs)
    names = [column.strip("# ").lower() not in _NO_NAMES for column in header]
    found: dict[str, str] = {}
    named = False
    for row in (header, *rows):
        cells = {cell.strip() for cell, is_name in zip(row, names, strict=False) if is_name and cell.strip()}
        own = cells & known
        if len(own) == 1:
            named = True
            found |= dict.fromkeys(cells - own, own.pop())
    if not named:
        raise AnnotationError(
            f"{path}: no row names a contig of the FASTA file, such as {', '.join(list(known)[:3])}"
        )
    return found


def translation(
    used: Iterable[str],
    contigs: Mapping[str, int],
    aliases: Mapping[str, str],
    other_names: Mapping[str, tuple[str, ...]],
    lengths: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """The name in the FASTA file of each contig that an annotation uses, as far as it can be told.

    By the same name, else the alias table, else what the annotation itself says the contig is also called,
    each also with "chr" put before or taken away, and as the ways to call a mitochondrion. What would lead
    two contigs to one, or one to two, is no guess to make, nor what would lead to one of another length.

    Args:
        used: names in the annotation.
        contigs: lengths by the names in the FASTA file.
        aliases: name by other name.
        other_names: what the annotation says that contigs are also called.
        lengths: of contigs in bp, as far as the annotation tells them.
    """
    found: dict[str, str] = {}
    guessed: dict[str, str] = {}
    for name in dict.fromkeys(used):
        if name in contigs:
            found[name] = name
        elif aliases.get(name) in contigs:
            found[name] = aliases[name]
        else:
            length = (lengths or {}).get(name)
            ways = contigs.keys() & _ways(name, aliases, other_names)
            fitting = {way for way in ways if length in (None, contigs[way])}
            if len(fitting) == 1:
                guessed[name] = fitting.pop()
    counts = Counter([*found.values(), *guessed.values()])
    return found | {name: contig for name, contig in guessed.items() if counts[contig] == 1}


def tell_lengths(
    features: Features, names: Mapping[str, str], contigs: Mapping[str, int], repairs: Repairs
) -> None:
    """Tell of contigs that are of another length in the FASTA file than the annotation says.

    Args:
        features: what the annotation says of its contigs.
        names: in the FASTA file, of the contigs that are taken for one of it.
        contigs: lengths by the names in the FASTA file.
        repairs: is told.
    """
    for name, length in features.lengths.items():
        if name in names:
            contig = names[name]
            if contigs[contig] != length:
                also = "" if contig == name else f" ({name})"
                repairs.add("contig-length", f"{contig}{also}: {length:,} bp, FASTA {contigs[contig]:,} bp")
            continue
        for way in _ways(name, {}, features.other_names):
            if contigs.get(way, length) != length:
                repairs.add("contig-unlike", f"{name}: {length:,} bp, {way} of the FASTA {contigs[way]:,} bp")


def _ways(
    name: str, aliases: Mapping[str, str], other_names: Mapping[str, tuple[str, ...]]
) -> dict[str, None]:
    called = (name, *other_names.get(name, ()))
    return dict.fromkeys(aliases.get(way, way) for one in called for way in (one, *_spellings(one)))


def _spellings(name: str) -> Iterable[str]:
    # The whole header of a FASTA record, and NCBI's of old: gi|…|ref|NC_000913.3|.
    yield from (name.split()[0], name.strip("|").split("|")[-1])
    bare = name[3:] if name[:3].lower() == "chr" else name
    if bare in _MITOCHONDRION:
        yield from _MITOCHONDRION
        yield from (f"chr{one}" for one in _MITOCHONDRION)
    yield from (bare, f"chr{bare}", f"Chr{bare}")
