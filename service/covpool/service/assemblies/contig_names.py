"""Contig names: a user's other names of contigs of a FASTA file, and the circular contigs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from covpool.extractor.annotation.contigs import read_aliases
from covpool.service.errors import RequestError

#: Number of names that a message lists.
LISTED = 5


@dataclass(frozen=True)
class ContigNames:
    """Names as given; `among` checks them against a FASTA file.

    Attributes:
        aliases: contig by other name.
        table: a file of aliases; see `read_aliases`.
        circular: circular contigs, by either name.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    table: Path | None = None
    circular: tuple[str, ...] = ()

    def among(self, contigs: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
        """Contigs by other names, also those of the table; and circular contigs by their names in the file.

        Raises:
            RequestError: an alias or circular contig names no contig of the file, or an alias is a contig.
            AnnotationError: the table cannot be read, or names no contig.
        """
        names = dict.fromkeys(contigs)
        for alias, contig in self.aliases.items():
            if contig not in names or alias in names:
                raise RequestError(
                    f"alias {alias!r} of {contig!r}: must be a new name of one of {some(names)}"
                )
        others = read_aliases(self.table, names) if self.table is not None else {}
        others |= self.aliases
        around = frozenset(others.get(name, name) for name in self.circular)
        if unknown := sorted(around - names.keys()):
            raise RequestError(f"circular contig {unknown[0]!r}: is not one of {some(names)}")
        return others, around


def some(names: Iterable[str]) -> str:
    """The first few names, for messages."""
    listed = list(islice(names, LISTED + 1))
    return ", ".join(listed[:LISTED]) + (", …" if len(listed) > LISTED else "")
