"""Files with terms of genes: GAF, GPAD, and tables with or without a header.

The format is recognised from the rows; a version line helps, but is optional and may be anywhere.
Convention: rows qualified with NOT are left out and counted.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.ontology import Ontology
from covpool.extractor.evaluation.inputs.term_columns import Columns, Row, TermCells, find_columns, is_header
from covpool.extractor.files.unreadable import read_lines

#: Number of rows from which the format is recognised.
_LOOKED_AT = 200
#: `!gaf-version: 2.2`, `!gpa-version: 1.1`, `!gpad-version: 2.0`.
_VERSION = re.compile(r"!\s*(gaf|gpad?)-version:\s*([\d.]+)", re.IGNORECASE)
#: A qualifier with NOT in any column of a table, but not other text that begins with NOT.
_NOT = re.compile(
    r"\s*NOT\s*($|\||[ _](enable|contribut|involve|part|locat|active|is|act|colocal|has|function))"
)


@dataclass(frozen=True)
class Annotated:
    """Terms of one gene or gene product.

    Attributes:
        names: its names in groups: ids, then symbols, then synonyms.
        terms: ids as in the file.
        accession: its id after the name of the database; "" if the file does not state it.
    """

    names: tuple[tuple[str, ...], ...]
    terms: tuple[str, ...]
    accession: str = ""


@dataclass(frozen=True)
class TermTable:
    """The content of a file.

    Attributes:
        format: "GAF 2.2" and the like.
        columns: the columns of terms and names, for a message.
        rows: in file order, including those without terms.
        negated: rows left out for NOT.
        texts: ignored cells of the term column that hold other text, as "line 3: …".
    """

    format: str
    columns: str
    rows: list[Annotated] = field(repr=False)
    negated: int = 0
    texts: tuple[str, ...] = ()


Numbered = tuple[int, str]


def read_term_table(
    path: str | PathLike[str], ontology: Ontology, is_name: Callable[[str], bool] | None = None
) -> TermTable:
    """Rows of a GAF file (1.0 to 2.2), a GPAD file (1.1 to 2.0) or a table; plain or compressed.

    A table may come from eggNOG-mapper, InterProScan, UniProt, BioMart, PANNZER, Blast2GO, NCBI (gene2go),
    SGD or another source; tabs, commas, semicolons or spaces separate its cells; see `term_columns`.

    Args:
        path: the file.
        ontology: of the terms.
        is_name: whether a text is the name of a gene. If the column of names holds no gene name, the column
            with the most gene names is used.

    Raises:
        EvaluationError: the file cannot be read, a row is too short, or no column of terms is recognised.
    """
    path = Path(path)
    lines = [(number, line) for number, line in enumerate(read_lines(path), start=1) if line.strip()]
    declared = next((match for _, line in lines if (match := _VERSION.match(line))), None)
    content = [(number, line) for number, line in lines if not line.startswith(("!", "##"))]
    rows = [(number, line) for number, line in content if not line.startswith("#")]
    if not rows:
        raise EvaluationError(f"{path}: holds no row; give a GAF file, or a table of genes and terms")
    cells = TermCells(ontology)
    version = f" {declared[2]}" if declared else ""
    split = [line.split("\t") for _, line in rows[:_LOOKED_AT]]
    if (declared and declared[1].lower() == "gaf") or _mostly(split, lambda row: _is_gaf(row, cells)):
        return _association(rows, f"GAF{version}", path)
    if (declared and declared[1].lower() != "gaf") or _mostly(split, lambda row: _is_gpad(row, cells)):
        return _association(rows, f"GPAD{version}", path)
    return _table(content, cells, path, is_name)


def _mostly(rows: Ordered[Row], fits: Callable[[Row], bool]) -> bool:
    return sum(map(fits, rows)) > len(rows) / 2


def _is_gaf(row: Row, cells: TermCells) -> bool:
    if len(row) < 15 or not cells.terms(row[4]):
        return False
    return row[8].strip() in ("P", "F", "C") or row[12].startswith("taxon:")


def _is_gpad(row: Row, cells: TermCells) -> bool:
    return len(row) >= 10 and bool(cells.terms(row[3])) and row[5].startswith("ECO:")


#: GAF has in all versions, 0-based: database 0, id 1, symbol 2, qualifier 3, term 4, synonyms 10.
_GAF = "GAF has 17 (15 filled)", "terms from column 5, names from columns 2, 3 and 11"
#: GPAD has database 0, id 1, qualifier 2, term 3; from version 2.0 on database:id 0, NOT 1.
_GPAD = "GPAD has 12 (10 filled)", "terms from column 4, ids from the first"


def _association(rows: list[Numbered], kind: str, path: Path) -> TermTable:
    """The rows of a GAF or GPAD file."""
    is_gaf = kind.startswith("GAF")
    expected, described = _GAF if is_gaf else _GPAD
    annotated, negated = [], 0
    for number, line in rows:
        columns = [cell.strip() for cell in line.split("\t")]
        if len(columns) < (15 if is_gaf else 10):
            raise EvaluationError(f"{path}, line {number}: {len(columns)} columns; {expected}, apart by tabs")
        if any(map(_is_negated, columns[3:4] if is_gaf else columns[1:3])):
            negated += 1
            continue
        joined = not is_gaf and columns[1] == "" and ":" in columns[0]
        accession = columns[0] if joined else f"{columns[0]}:{columns[1]}"
        if is_gaf:
            names = _filled((columns[1],), (columns[2],), columns[10].split("|"))
        else:
            names = _filled((accession.partition(":")[2],))
        annotated.append(Annotated(names, (columns[4 if is_gaf else 3],), accession))
    return TermTable(kind, described, annotated, negated)


def _is_negated(qualifier: str) -> bool:
    return "not" in re.split(r"[|\s]", qualifier.casefold())


def _filled(*groups: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    kept = (tuple(name.strip() for name in group if name.strip()) for group in groups)
    return tuple(group for group in kept if group)


def _table(
    content: list[Numbered],
    cells: TermCells,
    path: Path,
    is_name: Callable[[str], bool] | None,
) -> TermTable:
    refused: EvaluationError | None = None
    for split in _splits([line for _, line in content if not line.startswith("#")]):
        rows, header = _with_header(content, split)
        try:
            columns = find_columns([row for _, row in rows], header, cells, path)
        except EvaluationError as error:
            # The error of the first way to split lines is reported.
            refused = refused or error
            continue
        return _rows(rows, _renamed(columns, rows, is_name), cells)
    assert refused is not None
    raise refused


def _splits(lines: list[str]) -> Iterator[Callable[[str], Row]]:
    """Ways to split lines into cells that most lines allow."""
    if _share(lines, "\t"):
        yield _by_tabs
        return
    for mark in ",;":
        if _share(lines, mark):
            yield lambda line, mark=mark: next(csv.reader([line], delimiter=mark, skipinitialspace=True))  # type: ignore[misc]
    yield lambda line: line.split(None, 1)


def _share(lines: list[str], mark: str) -> bool:
    return 2 * sum(mark in line for line in lines) > len(lines)


def _by_tabs(line: str) -> Row:
    """Cells without quotation marks at both ends; other quotation marks are text."""
    return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in line.split("\t")]


def _with_header(content: list[Numbered], split: Callable[[str], Row]) -> tuple[list[tuple[int, Row]], Row]:
    """Rows, and the header: a line after "#" before them, or a first row that names columns."""
    rows: list[tuple[int, Row]] = []
    header: Row = []
    for number, line in content:
        if not line.startswith("#"):
            rows.append((number, split(line)))
        elif not rows and len(titles := split(line[1:].strip())) > 1:
            header = titles
    if not header and len(rows) > 1 and is_header(rows[0][1]):
        header = rows.pop(0)[1]
    width = max(len(row) for _, row in rows)
    if len(header) + 1 == width and any(row[-1].strip() for _, row in rows if len(row) == width):
        # R's write.table leaves the column of row names without a title.
        header = ["", *header]
    return rows, header


def _renamed(columns: Columns, rows: list[tuple[int, Row]], is_name: Callable[[str], bool] | None) -> Columns:
    """The columns; if the columns of names hold no gene name, names are from the column with the most."""
    looked_at = [row for _, row in rows]
    if is_name is None or any(
        is_name(name) for row in looked_at for group in columns.names(row) for name in group
    ):
        return columns
    others = [column for column in range(len(columns.header)) if column not in columns.terms]
    counts = {
        column: sum(is_name(row[column].strip()) for row in looked_at if column < len(row))
        for column in others
    }
    best = max(counts, key=lambda column: counts[column], default=0)
    if not counts.get(best):
        return columns
    return Columns(columns.terms, columns.read, (best,), columns.header)


def _rows(rows: list[tuple[int, Row]], columns: Columns, cells: TermCells) -> TermTable:
    annotated, negated, texts = [], 0, []
    for number, row in rows:
        if any(_NOT.match(cell) for cell in row):
            negated += 1
            continue
        terms: list[str] = []
        for column in columns.terms:
            cell = row[column] if column < len(row) else ""
            own = columns.read(cell)
            if own is None:
                texts.append(f"line {number}: {cell.strip()[:60]}")
            terms += own or ()
        annotated.append(Annotated(columns.names(row), tuple(terms)))
    where = f"terms from {columns.title(columns.terms)}, names from {columns.title(columns.genes)}"
    return TermTable("a table", where, annotated, negated, tuple(texts))
