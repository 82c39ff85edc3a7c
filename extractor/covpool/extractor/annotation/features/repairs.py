"""Repairs: what an annotation file needed before it could be used, by kind, counted, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from covpool.extractor.errors import AnnotationError

Action = Literal["repaired", "skipped", "kept"]

#: Examples kept of each kind.
EXAMPLES = 5

#: What is done about each kind of flaw, and what it is, in the order of a report.
KINDS: dict[str, tuple[Action, str]] = {
    "byte-order-mark": ("repaired", "the file begins with a byte order mark; passed over"),
    "encoding": ("repaired", "text that is not UTF-8; read as UTF-16 where it says so, else as Latin-1"),
    "line-ends": ("repaired", "a line that ends with a carriage return alone; read as the end of a line"),
    "tabs": ("repaired", "tabs in the ninth column; read as blanks"),
    "genbank": ("repaired", "what Biopython warned of in a GenBank file"),
    "columns": ("skipped", "a line of another number of columns"),
    "coordinates": ("skipped", "coordinates that are no whole numbers"),
    "start-after-end": ("repaired", "start lies after end; exchanged"),
    "over-origin": (
        "repaired",
        "goes over the origin of a circular contig, written as pieces at both ends, or with its start behind "
        "its end; read as one stretch",
    ),
    "before-first-base": ("repaired", "begins before the first base; cut there"),
    "no-strand": ("repaired", "a gene without a strand; read along +"),
    "no-id": ("repaired", "a gene without an ID; called by another attribute or its place"),
    "long-id": ("skipped", "a gene whose ID has more than 255 characters"),
    "repeated": ("repaired", "several lines of one ID on one strand of a contig; one gene that spans them"),
    "several-places": ("repaired", "one ID at several places; each is a gene of its own, ID~2, ID~3, …"),
    "parent-by-id": (
        "repaired",
        "parent is missing; taken for the gene around it whose ID begins the parent's",
    ),
    "parent-by-place": ("repaired", "parent is missing; taken for the only gene around it on its strand"),
    "parent-missing": ("skipped", "parent is missing, and there is no gene, or not only one, around it"),
    "parent-cycle": ("skipped", "parents that lead in a circle"),
    "no-parent": ("skipped", "an exon, CDS or UTR that names neither parent nor gene"),
    "parent-by-name": ("repaired", "names no parent; taken for that of the gene whose name or place it has"),
    "gene-made": ("repaired", "no gene line; made from its transcripts or parts"),
    "other-strand": ("skipped", "an exon, CDS or UTR on another strand or contig than its gene"),
    "outside-gene": ("repaired", "an exon, CDS or UTR that reaches out of its gene; cut to it"),
    "apart-from-gene": ("skipped", "an exon, CDS or UTR that lies outside of its gene"),
    "contig-renamed": (
        "repaired",
        "a contig under another name than in the FASTA file; told by its other names or spelling",
    ),
    "contig-length": (
        "kept",
        "a contig of another length than in the FASTA file, perhaps of another assembly; read all the same",
    ),
    "contig-unlike": (
        "skipped",
        "a contig called like one of the FASTA file, but of another length; not taken for it",
    ),
    "contig-unknown": ("skipped", "a gene on a contig that the FASTA file lacks"),
    "contig-end": ("repaired", "a gene that ends behind its contig; cut there"),
    "behind-contig": ("skipped", "a gene that begins behind the end of its contig"),
}


@dataclass(frozen=True)
class Finding:
    """One kind of flaw.

    Attributes:
        kind: a key of `KINDS`.
        count: how many lines, genes or parts had it.
        examples: the first of them, as the file calls them.
    """

    kind: str
    count: int
    examples: tuple[str, ...]

    @property
    def action(self) -> Action:
        """Whether it was repaired or skipped."""
        return KINDS[self.kind][0]

    @property
    def reason(self) -> str:
        """What it is, and what was done about it."""
        return KINDS[self.kind][1]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.action}: {self.reason} ({', '.join(self.examples)}{more})"


class Repairs:
    """Collects findings while a file is read."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count a flaw of a kind, and keep the example when it is among the first."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(example if len(example) <= 100 else f"{example[:99]}…")

    def add_all(self, kind: str, examples: Iterable[str], count: int) -> None:
        """Count many at once; of `examples` the first are taken."""
        if count:
            self._counts[kind] = self._counts.get(kind, 0) + count
            kept = self._examples.setdefault(kind, [])
            for example in examples:
                if len(kept) >= EXAMPLES:
                    break
                kept.append(example[:100])

    def findings(self, *kinds: str) -> tuple[Finding, ...]:
        """What was found, of some kinds or of all, in the order of `KINDS`."""
        return tuple(
            Finding(kind, self._counts[kind], tuple(self._examples[kind]))
            for kind in KINDS
            if kind in self._counts and (not kinds or kind in kinds)
        )

    def refuse(self, label: str) -> None:
        """Raise if anything was found: what strict reading does.

        Raises:
            AnnotationError: with every kind of flaw.
        """
        if found := self.findings():
            told = "; ".join(f"{one.kind}: {one}" for one in found)
            raise AnnotationError(f"{label}: {told}; correct the file, or read it without strict")


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [
        {
            "kind": one.kind,
            "action": one.action,
            "count": one.count,
            "reason": one.reason,
            "examples": list(one.examples),
        }
        for one in findings
    ]


def as_table(findings: Iterable[Finding]) -> str:
    """Findings as an aligned table; one line when there are none."""
    found = [(one.kind, str(one.action), f"{one.count:,}", ", ".join(one.examples[:2])) for one in findings]
    if not found:
        return "nothing to repair"
    rows = [("kind", "action", "count", "examples"), *found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{kind:<{widths[0]}}  {action:<{widths[1]}}  {count:>{widths[2]}}  {examples}"
        for kind, action, count, examples in rows
    )
