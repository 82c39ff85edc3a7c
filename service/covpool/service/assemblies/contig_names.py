"""Contig names: what someone says contigs of a FASTA file are also called, and which of them are circular."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from covpool.extractor.annotation.contigs import read_aliases
from covpool.service.errors import RequestError

#: Contigs that a message lists.
_LISTED = 5


@dataclass(frozen=True)
class ContigNames:
    """As it was said; `among` checks it against a FASTA file.

    Attributes:
        aliases: contig by other name.
        table: the same as a file; see `read_aliases`.
        circular: contigs that are circular, by either name.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    table: Path | None = None
    circular: tuple[str, ...] = ()

    def among(self, contigs: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
        """Contig by other name, the table's included, and the circular ones by their names in the file.

        Raises:
            RequestError: an alias or a circular contig is none of the file, or an alias is one.
            AnnotationError: the table cannot be read, or names no contig.
        """
        known = dict.fromkeys(contigs)
        for alias, contig in self.aliases.items():
            if contig not in known or alias in known:
                raise RequestError(
                    f"alias {alias!r} of {contig!r}: must be a new name of one of {some(known)}"
                )
        others = read_aliases(self.table, known) if self.table is not None else {}
        others |= self.aliases
        around = frozenset(others.get(one, one) for one in self.circular)
        if unknown := sorted(around - known.keys()):
            raise RequestError(f"circular contig {unknown[0]!r}: is none of {some(known)}")
        return others, around


def some(contigs: Iterable[str]) -> str:
    """The first few contigs, for messages."""
    listed = list(islice(contigs, _LISTED + 1))
    return ", ".join(listed[:_LISTED]) + (", …" if len(listed) > _LISTED else "")
