"""Contig names: chr1, 1 and NC_000001.11 are one contig; the name in the FASTA file is used."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from covpool.extractor.annotation.features.features import Features
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.errors import AnnotationError

_MITOCHONDRION = frozenset(("M", "MT", "Mt", "Mito", "mt", "mitochondrion", "MtDNA"))

#: Columns of an alias table that name no contig.
_NO_NAMES = frozenset(("length", "size", "source"))


def read_aliases(path: str | PathLike[str], contigs: Iterable[str]) -> dict[str, str]:
    """Other names of contigs, from a table with one contig per row and names separated by tabs.

    Columns headed length, size or source are ignored, and so are rows that name no contig of the FASTA file.

    Args:
        path: tab-separated text with a header; UCSC's chromAlias.txt is one.
        contigs: names in the FASTA file.

    Raises:
        AnnotationError: the table cannot be read, or no row names a contig.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise AnnotationError(
            f"{path}: is not a table of contig names ({error}); give text with tabs"
        ) from error
    contig_names = set(contigs)
    names = [column.strip("# ").lower() not in _NO_NAMES for column in header]
    aliases: dict[str, str] = {}
    named = False
    for row in (header, *rows):
        cells = {cell.strip() for cell, is_name in zip(row, names, strict=False) if is_name and cell.strip()}
        own = cells & contig_names
        if len(own) == 1:
            named = True
            aliases |= dict.fromkeys(cells - own, own.pop())
    if not named:
        raise AnnotationError(
            f"{path}: no row names a contig of the FASTA file, such as {', '.join(list(contig_names)[:3])}"
        )
    return aliases


def translation(
    used: Iterable[str],
    contigs: Mapping[str, int],
    aliases: Mapping[str, str],
    other_names: Mapping[str, tuple[str, ...]],
    lengths: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """The name in the FASTA file of each contig that an annotation uses, where it can be determined.

    The same name is tried first, then the alias table, then the other names that the annotation states. Each
    is also tried with and without "chr", and with the names of a mitochondrion. A guess is not used if it
    leads two contigs to one, one contig to two, or a contig to one of another length.

    Args:
        used: names in the annotation.
        contigs: lengths by the names in the FASTA file.
        aliases: name by other name.
        other_names: other names of contigs that the annotation states.
        lengths: of contigs in bp, where the annotation states them.
    """
    certain: dict[str, str] = {}
    guessed: dict[str, str] = {}
    for name in dict.fromkeys(used):
        if name in contigs:
            certain[name] = name
        elif aliases.get(name) in contigs:
            certain[name] = aliases[name]
        else:
            length = (lengths or {}).get(name)
            candidates = contigs.keys() & _ways(name, aliases, other_names)
            fitting = {candidate for candidate in candidates if length in (None, contigs[candidate])}
            if len(fitting) == 1:
                guessed[name] = fitting.pop()
    counts = Counter([*certain.values(), *guessed.values()])
    return certain | {name: contig for name, contig in guessed.items() if counts[contig] == 1}


def report_lengths(
    features: Features, names: Mapping[str, str], contigs: Mapping[str, int], repairs: Repairs
) -> None:
    """Report contigs whose length in the FASTA file differs from that in the annotation.

    Args:
        features: hold the lengths that the annotation states.
        names: FASTA names by annotation names, for the contigs that were identified.
        contigs: lengths by the names in the FASTA file.
        repairs: receives the differences.
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
    return dict.fromkeys(aliases.get(way, way) for own in called for way in (own, *_spellings(own)))


def _spellings(name: str) -> Iterable[str]:
    # The first word of a FASTA header, and the accession in old NCBI headers: gi|…|ref|NC_000913.3|.
    yield from (name.split()[0], name.strip("|").split("|")[-1])
    bare = name[3:] if name[:3].lower() == "chr" else name
    if bare in _MITOCHONDRION:
        yield from _MITOCHONDRION
        yield from (f"chr{spelling}" for spelling in _MITOCHONDRION)
    yield from (bare, f"chr{bare}", f"Chr{bare}")
