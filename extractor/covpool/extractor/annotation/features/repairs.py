"""Repairs: the flaws of an annotation file, by kind, counted, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from covpool.extractor.errors import AnnotationError

Action = Literal["repaired", "skipped", "kept"]

#: Examples kept of each kind.
EXAMPLES = 5

#: What is done about each kind of flaw, and its description, in the order of a report.
KINDS: dict[str, tuple[Action, str]] = {
    "byte-order-mark": ("repaired", "the file begins with a byte order mark; ignored"),
    "encoding": ("repaired", "text that is not UTF-8; read as UTF-16 if it is marked so, else as Latin-1"),
    "line-ends": ("repaired", "a line that ends with a carriage return only; read as the end of a line"),
    "tabs": ("repaired", "tabs in the ninth column; read as blanks"),
    "genbank": ("repaired", "a warning of Biopython for a GenBank file"),
    "columns": ("skipped", "a line with the wrong number of columns"),
    "coordinates": ("skipped", "coordinates that are not whole numbers"),
    "start-after-end": ("repaired", "start lies after end; swapped"),
    "over-origin": (
        "repaired",
        "crosses the origin of a circular contig, written as pieces at both ends, or with its start after "
        "its end; read as one stretch",
    ),
    "before-first-base": ("repaired", "begins before the first base; cut there"),
    "no-strand": ("repaired", "a gene without a strand; read along +"),
    "no-id": ("repaired", "a gene without an ID; named by another attribute or its place"),
    "long-id": ("skipped", "a gene whose ID has more than 255 characters"),
    "repeated": ("repaired", "several lines with one ID on one strand of a contig; read as one gene"),
    "several-places": ("repaired", "one ID at several places; read as separate genes, ID~2, ID~3, …"),
    "parent-by-id": (
        "repaired",
        "parent is missing; assigned to the gene around it whose ID is the start of the parent's",
    ),
    "parent-by-place": ("repaired", "parent is missing; assigned to the only gene around it on its strand"),
    "parent-missing": ("skipped", "parent is missing, and no gene, or more than one, lies around it"),
    "parent-cycle": ("skipped", "parents that form a cycle"),
    "no-parent": ("skipped", "an exon, CDS or UTR that names neither parent nor gene"),
    "parent-by-name": ("repaired", "names no parent; assigned to the gene with the same name or place"),
    "gene-made": ("repaired", "no gene line; made from its transcripts or parts"),
    "other-strand": ("skipped", "an exon, CDS or UTR on another strand or contig than its gene"),
    "outside-gene": ("repaired", "an exon, CDS or UTR that extends beyond its gene; cut to it"),
    "apart-from-gene": ("skipped", "an exon, CDS or UTR that lies outside of its gene"),
    "contig-renamed": (
        "repaired",
        "a contig with another name than in the FASTA file; identified by its other names or spelling",
    ),
    "contig-length": (
        "kept",
        "a contig with another length than in the FASTA file, perhaps of another assembly; read nevertheless",
    ),
    "contig-unlike": (
        "skipped",
        "a contig named like a contig of the FASTA file, but with another length; treated as another contig",
    ),
    "contig-unknown": ("skipped", "a gene on a contig that is not in the FASTA file"),
    "contig-end": ("repaired", "a gene that ends after the end of its contig; cut there"),
    "behind-contig": ("skipped", "a gene that begins after the end of its contig"),
}


@dataclass(frozen=True)
class Finding:
    """One kind of flaw.

    Attributes:
        kind: a key of `KINDS`.
        count: number of lines, genes or parts with it.
        examples: the first of them, named as in the file.
    """

    kind: str
    count: int
    examples: tuple[str, ...]

    @property
    def action(self) -> Action:
        """Whether it was repaired, skipped or kept."""
        return KINDS[self.kind][0]

    @property
    def reason(self) -> str:
        """A description of the flaw and of what was done about it."""
        return KINDS[self.kind][1]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.action}: {self.reason} ({', '.join(self.examples)}{more})"


class Repairs:
    """Collects findings while a file is read."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, *examples: str, count: int = 1) -> None:
        """Count flaws of a kind, and keep the examples that are among the first."""
        if count:
            self._counts[kind] = self._counts.get(kind, 0) + count
            kept = self._examples.setdefault(kind, [])
            for example in examples[: EXAMPLES - len(kept)]:
                kept.append(example if len(example) <= 100 else f"{example[:99]}…")

    def findings(self, *kinds: str) -> tuple[Finding, ...]:
        """The findings of some kinds, or of all, in the order of `KINDS`."""
        return tuple(
            Finding(kind, self._counts[kind], tuple(self._examples[kind]))
            for kind in KINDS
            if kind in self._counts and (not kinds or kind in kinds)
        )

    def refuse(self, label: str) -> None:
        """Raise if there are findings; strict reading calls this.

        Raises:
            AnnotationError: with every kind of flaw.
        """
        if findings := self.findings():
            details = "; ".join(f"{finding.kind}: {finding}" for finding in findings)
            raise AnnotationError(f"{label}: {details}; correct the file, or read it without strict")


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [
        {
            "kind": finding.kind,
            "action": finding.action,
            "count": finding.count,
            "reason": finding.reason,
            "examples": list(finding.examples),
        }
        for finding in findings
    ]


def as_table(findings: Iterable[Finding]) -> str:
    """Findings as an aligned table; one line when there are none."""
    cells = [(x.kind, str(x.action), f"{x.count:,}", ", ".join(x.examples[:2])) for x in findings]
    if not cells:
        return "nothing to repair"
    rows = [("kind", "action", "count", "examples"), *cells]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{kind:<{widths[0]}}  {action:<{widths[1]}}  {count:>{widths[2]}}  {examples}"
        for kind, action, count, examples in rows
    )
