"""Columns of a table: those with terms, and those with names of genes; and the terms in a cell.

A cell holds terms, such as GO:0000003,GO:0000004 or the forms in which programs write such lists, only if it
holds nothing else: a text that mentions a term is not a cell of terms.
A column holds terms if most of its cells are lists of terms. The header decides between several such columns;
if it does not, reading fails.
"""

import re
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from pathlib import Path

from covpool.extractor.errors import EvaluationError
from covpool.extractor.evaluation.inputs.ontology import Ontology

Row = list[str]
Reader = Callable[[str], list[str] | None]

#: Headers of columns of terms, in lower-case letters and digits only.
_TERMS = frozenset((
    "go", "gos", "goid", "goids", "goterm", "goterms", "goidlist", "goannotation", "goannotations",
    "gotermaccession", "geneontology", "geneontologyid", "geneontologyids", "ontologyterm",
    "ontologyid", "term", "terms", "termid", "termids", "goaccession",
))  # fmt: skip
#: Headers of columns with names of genes and of their products.
_GENES = frozenset((
    "gene", "geneid", "genename", "genenames", "genesymbol", "symbol", "locus", "locustag", "query",
    "queryname", "qpid", "entry", "orf", "seqname", "sequencename", "sequenceid", "systematicname",
    "protein", "proteinid", "proteinaccession", "transcript", "transcriptid", "genestableid",
    "genestableidversion", "transcriptstableid", "transcriptstableidversion", "proteinstableid",
    "proteinstableidversion", "genenamesprimary", "genenamesorderedlocus", "genenamessynonym",
    "genenamesorf", "sgdid", "dbobjectid", "dbobjectsymbol", "ncbigeneid", "entrezgeneid",
    "ncbigeneentrezgeneid", "uniprotkbac", "primaryidentifier", "secondaryidentifier", "bnumber",
))  # fmt: skip
#: Headers of columns in which bare numbers are NCBI gene ids.
_NCBI_GENES = frozenset(("geneid", "ncbigeneid", "entrezgeneid", "ncbigeneentrezgeneid"))
_ASPECTS = re.compile(
    r"\b(biological process|molecular function|cellular component|process|function|component|"
    r"bp|mf|cc|p|f|c)\b"
)
#: If no header decides between two columns of terms, one must have this many times the cells of the other.
_CLEARLY_MORE = 2

#: Texts that programs write for no term.
_NOTHING = frozenset(("", "-", "--", "---", ".", "na", "n/a", "#n/a", "nan", "none", "null", "no go terms"))
#: Texts that may follow an id: "(InterPro)", "[IEA]", DAVID's "~name", Trinotate's "^aspect^name", " ! name",
#: " // name".
_TAIL = re.compile(r"[\s,;|`]*|\s*\([^()]*\)[\s,;|]*|\s*\[[^\[\]]*\][\s,;|]*|\s*(?:~|\^|!|//).*", re.DOTALL)


class TermCells:
    """Reads cells with ids of one ontology; GO:0000003 may be GO_0000003, P:GO:0000003 or a web address.

    Attributes:
        example: a term of the ontology.
    """

    def __init__(self, ontology: Ontology) -> None:
        prefixes = sorted({term.partition(":")[0] for term in (*ontology.names, *ontology.replaced)})
        prefix_pattern = "|".join(map(re.escape, prefixes))
        start = rf"(?:[PFC]:\s?)?(?:https?://\S*/)?(?:{prefix_pattern})[:_]\w+"
        self.example = min(ontology.names)
        self._prefix = prefixes[0] if len(prefixes) == 1 else ""
        self._split = re.compile(rf"(?:[\s,;|`]|//+)+(?={start})", re.IGNORECASE)
        self._item = re.compile(
            rf"(?:[PFC]:\s?)?(?:https?://\S*/)?(?P<prefix>{prefix_pattern})[:_](?P<number>\w+)", re.IGNORECASE
        )
        self._named = re.compile(rf"[^\[\]].*\[(?P<term>(?:{prefix_pattern}):\w+)\]\s*", re.DOTALL)
        self._spelling = {prefix.casefold(): prefix for prefix in prefixes}

    def terms(self, cell: str) -> list[str] | None:
        """Ids of a cell of terms, [] for an empty cell, None for other text."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        if not self._item.match(text):
            return None
        ids = []
        for item in self._split.split(text):
            match = self._item.match(item)
            if match is None or not _TAIL.fullmatch(item, match.end()):
                return None
            ids.append(f"{self._spelling[match['prefix'].casefold()]}:{match['number']}")
        return ids

    def named(self, cell: str) -> list[str] | None:
        """The same for UniProt's lists of names with ids: "ATP binding [GO:0005524]; …"."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        matches = [self._named.fullmatch(item) for item in re.split(r";\s*", text)]
        return [match["term"] for match in matches if match] if all(matches) else None

    def numbers(self, cell: str) -> list[str] | None:
        """The same for ids without prefix, as PANNZER writes them: 0005524."""
        text = cell.strip()
        if text.casefold() in _NOTHING:
            return []
        return [f"{self._prefix}:{text}"] if self._prefix and re.fullmatch(r"\d{7}", text) else None


@dataclass(frozen=True)
class Columns:
    """Roles of the columns of a table.

    Attributes:
        terms: columns of terms, read together.
        read: the reader of their cells.
        genes: columns of names, the decisive one first.
        header: names of the columns, "" for a column without one.
    """

    terms: tuple[int, ...]
    read: Reader
    genes: tuple[int, ...]
    header: Row

    def title(self, columns: Iterable[int]) -> str:
        """Names of columns for a message."""
        return ", ".join(_title(self.header, column) for column in columns)

    def names(self, row: Row) -> tuple[tuple[str, ...], ...]:
        """Names in a row, those of the decisive column first."""
        tiers: list[tuple[str, ...]] = []
        for column in self.genes:
            cell = row[column].strip() if column < len(row) else ""
            title = _plain(self.header[column])
            if title.startswith("genenames") or column > max(self.terms):
                tiers.append(tuple(re.split(r"[,;\s]+", cell)))
            elif cell.isdigit() and title in _NCBI_GENES:
                tiers.append((f"GeneID:{cell}", cell))
            else:
                # sp|P00561|AK1H_ECOLI, as in the headers of protein FASTA files.
                tiers.append((cell, *cell.split("|")[1:]))
        kept = (tuple(name.strip() for name in tier if name.strip()) for tier in tiers)
        return tuple(tier for tier in kept if tier)


def find_columns(rows: Ordered[Row], header: Row, cells: TermCells, path: Path) -> Columns:
    """The columns of a table; rows do not hold the header.

    Raises:
        EvaluationError: no column holds terms, or several do and the header does not decide.
    """
    width = max(len(row) for row in rows)
    titles = [*header, *[""] * (width - len(header))]
    chosen: tuple[int, ...] = ()
    read: Reader = cells.terms
    for read, fits in (
        (cells.terms, lambda title: True),
        (cells.named, lambda title: title.startswith("geneontology")),
        (cells.numbers, lambda title: title in _TERMS),
    ):
        candidates = [column for column in range(width) if fits(_plain(titles[column]))]
        counts = {column: _whole(rows, column, read) for column in candidates}
        chosen = _chosen({column: count for column, count in counts.items() if count}, titles, path)
        if chosen:
            break
    if not chosen:
        raise EvaluationError(
            f"{path}: no column holds terms of the ontology (such as {cells.example}) and nothing else; give "
            "genes in the first column and term ids in another"
        )
    genes = tuple(
        column for column, title in enumerate(titles) if _plain(title) in _GENES and column not in chosen
    )
    return Columns(chosen, read, genes or (next(n for n in range(width + 1) if n not in chosen),), titles)


def is_header(row: Row) -> bool:
    """Whether a row names columns."""
    return any(_plain(cell) in _GENES | _TERMS for cell in row)


def _whole(rows: Ordered[Row], column: int, read: Reader) -> int:
    """Number of cells that hold terms only; 0 if more cells hold other text."""
    complete = text = 0
    for number, row in enumerate(rows):
        terms = read(row[column]) if column < len(row) else []
        complete += bool(terms)
        # A first row may hold unknown titles, so it does not count as other text.
        text += terms is None and number > 0
    return complete if complete > text else 0


def _chosen(counts: dict[int, int], titles: Row, path: Path) -> tuple[int, ...]:
    """The column of terms, or the columns that each hold one aspect of the ontology."""
    if len(counts) < 2:
        return tuple(counts)
    named = [column for column in counts if _plain(titles[column]) in _TERMS]
    if len(named) == 1:
        return tuple(named)
    spaced = [re.sub(r"[^a-z0-9]+", " ", titles[column].casefold()).strip() for column in counts]
    bare = {_ASPECTS.sub("", title, count=1).strip() for title in spaced}
    if len(bare) == 1 and len(set(spaced)) == len(spaced) and bare.isdisjoint(spaced):
        return tuple(counts)
    (best, most), (_, next_most) = sorted(counts.items(), key=lambda item: -item[1])[:2]
    if most >= _CLEARLY_MORE * next_most:
        return (best,)
    raise EvaluationError(
        f"{path}: terms are in {', '.join(_title(titles, column) for column in counts)}, and no header tells "
        "is meant; leave only one of these columns in the table"
    )


def _plain(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", title.casefold())


def _title(titles: Row, column: int) -> str:
    title = titles[column].strip() if column < len(titles) else ""
    return f"column {title!r}" if title else f"column {column + 1}"
