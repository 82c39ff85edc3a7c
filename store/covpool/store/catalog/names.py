"""Names: what users call a sequence (gene id, symbol, locus tag, alias, coordinates), leading to keys.

Convention: intervals are 0-based and half-open. Many names lead to one key, and one name to many keys
(layers, selections, assemblies); the keys of one gene share the rows of its names. Names are matched exactly,
as case distinguishes species (BRCA1 is human, Brca1 is mouse), unless a look-up ignores case. Sequences
themselves are never stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, Literal, TypedDict, Unpack

import sqlalchemy as sa

from covpool.store.catalog.catalog import entry_of, select_entries
from covpool.store.catalog.entries import Entry
from covpool.store.catalog.tables import entries, equal, namespaces, subjects
from covpool.store.catalog.tables import names as _names
from covpool.store.database.database import Database, insert_if_absent
from covpool.store.values.keys import MomentsKey, canonical_json, is_digest, sha256

#: Longest name, in characters.
MAX_LENGTH = 500

#: Names added in one transaction.
_BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """One name of one key, or of several.

    Attributes:
        name: as users write it.
        key: the key it leads to; a `MomentsKey` or its digest.
        also: further keys it leads to, stored in one row with the first; empty in results.
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
    also: tuple[MomentsKey | str, ...] = ()
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
        for key in (self.key, *self.also):
            if not is_digest(str(key)):
                raise ValueError(f"name {self.name!r}: key must be a MomentsKey or its digest, not {key!r}")
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
class NamedEntry:
    """A name and the ready entry it leads to."""

    name: Name
    entry: Entry


class Filters(TypedDict, total=False):
    """Conditions on a name and its entry; None is no condition.

    Attributes:
        kind: of the name.
        model, layer, selection: of the entry's recipe.
    """

    kind: str | None
    model: str | None
    layer: str | None
    selection: str | None


class Names:
    """The names of a catalog: add them, and find entries by them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, names: Iterable[Name]) -> int:
        """Add names of keys that are stored now or later; names that exist already are skipped.

        Returns:
            How many were new; a name of several keys counts once.
        """
        added, left = 0, ((_digests(name), name) for name in names)
        while batch := list(islice(left, _BATCH)):
            subject_of = {keys: _subject(keys) for keys, _ in batch}
            # In one order everywhere: two writers must not wait for each other.
            led: list[dict[str, object]] = [
                {"subject": subject_of[keys], "key": key}
                for keys in sorted(subject_of, key=subject_of.__getitem__)
                for key in keys
            ]
            rows = sorted((_row(name, subject_of[keys]) for keys, name in batch), key=itemgetter("id"))
            with self._database.writing() as connection:
                insert_if_absent(connection, subjects, led)
                added += insert_if_absent(connection, _names, rows)
        return added

    def find(
        self,
        name: str,
        *,
        ignore_case: bool = False,
        assembly: str | None = None,
        **filters: Unpack[Filters],
    ) -> list[NamedEntry]:
        """The ready entries that a name leads to, ordered by name and key; none is an empty list.

        Args:
            name: the name, whole.
            ignore_case: also match other spellings of upper and lower case.
            assembly: of the name.
            filters: see `Filters`.
        """
        matches = _names.c.folded == name.casefold() if ignore_case else _names.c.name == name
        return self._select(matches, assembly, filters)

    def overlapping(
        self,
        assembly: str,
        chrom: str,
        start: int,
        end: int,
        *,
        strand: Literal["+", "-"] | None = None,
        **filters: Unpack[Filters],
    ) -> list[NamedEntry]:
        """The ready entries whose named interval shares a base with [start, end) of `chrom`.

        Raises:
            ValueError: the interval is empty or starts before 0.
        """
        if not 0 <= start < end:
            raise ValueError(f"{chrom}: the interval [{start}, {end}) is empty or starts before 0")
        matches = sa.and_(_names.c.chrom == chrom, _names.c.start < end, _names.c.end > start)
        if strand is not None:
            matches = sa.and_(matches, _names.c.strand == strand)
        return self._select(matches, assembly, filters)

    def of_assembly(self, assembly: str, **filters: Unpack[Filters]) -> list[NamedEntry]:
        """The ready entries that have a name in an assembly, with these names, ordered by name and key."""
        return self._select(sa.true(), assembly, filters)

    def of(self, key: MomentsKey | str) -> list[Name]:
        """The names of a key, stored or not, in the order of the names."""
        query = sa.select(*(_names.c[field] for field in _FIELDS), subjects.c.key).distinct()
        query = query.join(subjects, subjects.c.subject == _names.c.subject).where(subjects.c.key == str(key))
        query = query.order_by(*(_names.c[field] for field in _FIELDS))
        with self._database.reading() as connection:
            return [Name(**row._mapping) for row in connection.execute(query)]

    def _select(
        self, matches: "sa.ColumnElement[bool]", assembly: str | None, filters: Filters
    ) -> list[NamedEntry]:
        query = select_entries().where(entries.c.state == "ready", matches)
        query = query.join(subjects, subjects.c.key == entries.c.key)
        query = query.join(_names, _names.c.subject == subjects.c.subject)
        # A key may belong to several subjects with the same names: one of one layer, one of several.
        named = [_names.c[field].label(f"name_{field}") for field in _FIELDS]
        query = query.add_columns(*named).distinct()
        wanted = {
            _names.c.assembly: assembly,
            _names.c.kind: filters.get("kind"),
            namespaces.c.model: filters.get("model"),
            namespaces.c.layer: filters.get("layer"),
            namespaces.c.selection: filters.get("selection"),
        }
        query = query.where(*equal(wanted)).order_by(_names.c.name, entries.c.key, *named[1:])
        with self._database.reading() as connection:
            return [
                NamedEntry(
                    Name(**{field: row._mapping[f"name_{field}"] for field in _FIELDS}, key=row.key),
                    entry_of(row),
                )
                for row in connection.execute(query)
            ]


_FIELDS = ("name", "kind", "assembly", "chrom", "start", "end", "strand")


def _digests(name: Name) -> tuple[str, ...]:
    """Digests of its keys, sorted and unique."""
    return tuple(sorted({str(name.key), *map(str, name.also)}))


def _subject(keys: tuple[str, ...]) -> str:
    """The key itself, or the digest of several."""
    return keys[0] if len(keys) == 1 else sha256("\n".join(keys))


def _row(name: Name, subject: str) -> dict[str, Any]:
    row: dict[str, Any] = {field: getattr(name, field) for field in _FIELDS}
    # The column was called "key" when a name had one key: ids of that time stay the same.
    named = sha256(canonical_json(row | {"key": subject}))
    return row | {"subject": subject, "id": named, "folded": name.name.casefold()}
