"""GenBank records: a flat file parsed by Biopython record by record, with LOCUS lines that it rejects."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.text import lines
from covpool.extractor.errors import AnnotationError

#: Name and length without a blank between them: Prokka writes SPAdes's long names into sixteen columns.
_TOGETHER = re.compile(r"LOCUS\s+(?P<name>\S*?[^\s\d])(?P<digits>\d+)\s*bp\b(?P<rest>.*)", re.DOTALL)
#: A name of several words, as SnapGene and Geneious write it.
_WORDS = re.compile(r"LOCUS\s+(?P<name>\S+(?:\s+\S+)+?)\s+(?P<digits>\d+)\s+bp\b(?P<rest>.*)", re.DOTALL)
#: What Biopython raises for damaged records: it checks some with assertions, and some not at all.
_UNREADABLE = (ValueError, AssertionError, LookupError, TypeError, AttributeError, OverflowError)
_LENGTHS = (r"\n\s+source\s+1\.\.>?(\d+)", r"_length_(\d+)")


def records(path: Path, repairs: Repairs) -> Iterator[Any]:
    """The records as Biopython parses them.

    Raises:
        AnnotationError: the file cannot be read, or a record is not GenBank; the message has its first line.
    """
    from Bio import BiopythonWarning, SeqIO

    for number, text in _texts(lines(path, repairs)):
        with warnings.catch_warnings(record=True, category=BiopythonWarning) as oddities:
            warnings.simplefilter("always", BiopythonWarning)
            try:
                parsed = list(SeqIO.parse(io.StringIO(_readable(text, repairs)), "genbank"))  # type: ignore[no-untyped-call]
            except _UNREADABLE as error:
                why = " ".join(str(error).split()) or type(error).__name__
                raise AnnotationError(
                    f"{path}, line {number}: a record that cannot be read as GenBank ({why}); correct it, or "
                    "fetch the file again"
                ) from error
        for oddity in oddities:
            repairs.add("genbank", " ".join(str(oddity.message).split()))
        yield from parsed


def _texts(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The text of every record with the number of its first line."""
    record: list[str] = []
    begun = 0
    for number, line in enumerate(file, start=1):
        if line.startswith("LOCUS ") or not record:
            if any(text.startswith("LOCUS ") for text in record):
                yield begun, "".join(record)
            record, begun = [], number
        record.append(line)
        if line.rstrip() == "//":
            yield begun, "".join(record)
            record = []
    if any(text.strip() for text in record):
        yield begun, "".join(record)


def _readable(text: str, repairs: Repairs) -> str:
    """The record with a standard LOCUS line, if its name does not fit the columns."""
    at = text.find("LOCUS ")
    line, _, rest = text[max(at, 0) :].partition("\n")
    if match := _TOGETHER.fullmatch(line):
        digits = match["digits"]
        for pattern in _LENGTHS:
            said = re.search(pattern, text)
            if said is not None and digits.endswith(said[1]):
                name = match["name"] + digits.removesuffix(said[1])
                repairs.add("genbank", f"LOCUS {match['name']}{digits}: read as {name} of {said[1]} bp")
                return _locus(name, said[1], match["rest"], rest)
    if match := _WORDS.fullmatch(line):
        name = "_".join(match["name"].split())
        repairs.add("genbank", f"LOCUS {match['name']}: read as {name}")
        return _locus(name, match["digits"], match["rest"], rest)
    return text


def _locus(name: str, length: str, rest: str, record: str) -> str:
    topology = "circular" if "circular" in rest.split() else "linear"
    return f"LOCUS       {name} {length} bp    DNA     {topology} UNK 01-JAN-1980\n{record}"
