"""Names: what users call a sequence (gene id, symbol, locus tag, alias, coordinates), leading to keys.

Convention: intervals are 0-based and half-open. Many names lead to one key, and one name to many keys
(layers, regions, assemblies). Names are matched exactly, as case tells species apart (BRCA1 is human, Brca1
is mouse), unless a look-up asks otherwise. Sequences themselves are never stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import sqlalchemy as sa

from covpool.store.catalog import Catalog, entry_of, select_entries
from covpool.store.engines import insert_if_absent
from covpool.store.entries import Entry
from covpool.store.keys import MomentsKey, canonical_json, is_digest, sha256
from covpool.store.tables import entries, namespaces
from covpool.store.tables import names as _names

#: A name longer than this is no name.
MAX_LENGTH = 500

#: Names added in one transaction.
_BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """One name of one key.

    Attributes:
        name: as users write it.
        key: the key it leads to; a `MomentsKey` or its digest.
        kind: what sort of name it is: "gene_id", "symbol", "locus_tag", "transcript", "alias", ….
        assembly: the genome assembly it belongs to; "" for none.
        chrom: the sequence of the assembly the interval lies on, None without an interval.
        start: first base of the interval, counted from 0.
        end: the base after its last one.
        strand: "+" or "-"; None where it has none.

    Raises:
        ValueError: a field is empty, unprintable or too long, or the interval is none.
    """

    name: str
    key: MomentsKey | str
    kind: str = "gene_id"
    assembly: str = ""
    chrom: str | None = None
    start: int | None = None
    end: int | None = None
    strand: Literal["+", "-"] | None = None

    def __post_init__(self) -> None:
        for field in ("name", "kind"):
            if not getattr(self, field):
                raise ValueError(f"name {self.name!r}: {field} is empty")
        for field in ("name", "kind", "assembly", "chrom"):
            text = getattr(self, field) or ""
            if len(text) > MAX_LENGTH or not text.isprintable():
                raise ValueError(
                    f"name {self.name[:40]!r}: {field} has unprintable characters, or more than {MAX_LENGTH}"
                )
        if not is_digest(str(self.key)):
            raise ValueError(f"name {self.name!r}: key must be a MomentsKey or its digest, not {self.key!r}")
        if (self.chrom is None, self.start is None, self.end is None) not in ((True,) * 3, (False,) * 3):
            raise ValueError(f"name {self.name!r}: an interval has chrom, start and end; give all or none")
        if self.start is not None and self.end is not None and not 0 <= self.start < self.end:
            raise ValueError(
                f"name {self.name!r}: the interval [{self.start}, {self.end}) is empty or starts before 0; "
                "count from 0, and give the base after the last as end"
            )
        if self.strand not in ("+", "-", None):
            raise ValueError(f"name {self.name!r}: strand must be '+', '-' or None, not {self.strand!r}")


@dataclass(frozen=True, slots=True)
class Found:
    """A name and the ready entry it leads to."""

    name: Name
    entry: Entry


class Names:
    """The names of a catalog: add them, and find entries by them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def add(self, names: Iterable[Name]) -> int:
        """Add names, of keys stored already or later; those known already are skipped.

        Returns:
            How many were new.
        """
        added = 0
        rows = map(_row, names)
        while batch := list(islice(rows, _BATCH)):
            with self._catalog.writing() as connection:
                added += insert_if_absent(connection, _names, batch)
        return added

    def find(
        self,
        name: str,
        *,
        ignore_case: bool = False,
        kind: str | None = None,
        assembly: str | None = None,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
    ) -> list[Found]:
        """The ready entries that a name leads to, ordered by name and key; none is an empty list.

        Args:
            name: the name, whole.
            ignore_case: also match other spellings of upper and lower case.
            kind, assembly: of the name.
            model, layer, selection: of the entry's recipe.
        """
        matches = _names.c.folded == name.casefold() if ignore_case else _names.c.name == name
        return self._found(matches, kind, assembly, model, layer, selection)

    def overlapping(
        self,
        assembly: str,
        chrom: str,
        start: int,
        end: int,
        *,
        strand: Literal["+", "-"] | None = None,
        kind: str | None = None,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
    ) -> list[Found]:
        """The ready entries whose named interval shares a base with [start, end) of `chrom`.

        Raises:
            ValueError: the interval is empty or starts before 0.
        """
        if not 0 <= start < end:
            raise ValueError(f"{chrom}: the interval [{start}, {end}) is empty or starts before 0")
        matches = sa.and_(_names.c.chrom == chrom, _names.c.start < end, _names.c.end > start)
        if strand is not None:
            matches = sa.and_(matches, _names.c.strand == strand)
        return self._found(matches, kind, assembly, model, layer, selection)

    def of_assembly(
        self,
        assembly: str,
        *,
        kind: str | None = None,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
    ) -> list[Found]:
        """The ready entries that have a name in an assembly, with these names, ordered by name and key."""
        return self._found(sa.true(), kind, assembly, model, layer, selection)

    def of(self, key: MomentsKey | str) -> list[Name]:
        """The names of a key, stored or not, in the order of the names."""
        query = sa.select(*(_names.c[field] for field in _FIELDS)).where(_names.c.key == str(key))
        query = query.order_by(_names.c.name, _names.c.id)
        with self._catalog.reading() as connection:
            return [Name(**row._mapping) for row in connection.execute(query)]

    def _found(
        self,
        matches: "sa.ColumnElement[bool]",
        kind: str | None,
        assembly: str | None,
        model: str | None,
        layer: str | None,
        selection: str | None,
    ) -> list[Found]:
        query = select_entries().where(entries.c.state == "ready", matches)
        query = query.join(_names, _names.c.key == entries.c.key)
        # Under labels: `key` is a column of both.
        query = query.add_columns(*(_names.c[field].label(f"name_{field}") for field in _FIELDS))
        wanted = {
            _names.c.kind: kind,
            _names.c.assembly: assembly,
            namespaces.c.model: model,
            namespaces.c.layer: layer,
            namespaces.c.selection: selection,
        }
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        query = query.order_by(_names.c.name, entries.c.key, _names.c.id)
        with self._catalog.reading() as connection:
            return [
                Found(Name(**{field: row._mapping[f"name_{field}"] for field in _FIELDS}), entry_of(row))
                for row in connection.execute(query)
            ]


_FIELDS = ("name", "kind", "assembly", "chrom", "start", "end", "strand", "key")


def _row(name: Name) -> dict[str, Any]:
    row: dict[str, Any] = {field: getattr(name, field) for field in _FIELDS} | {"key": str(name.key)}
    return row | {"id": sha256(canonical_json(row)), "folded": name.name.casefold()}
