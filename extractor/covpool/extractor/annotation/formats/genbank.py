"""GenBank flat files: the genes of their features, and which of the others are of each."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from covpool.extractor.annotation.features.features import (
    CDS,
    EXON,
    Description,
    Features,
    GeneLine,
    PartColumns,
    Strand,
    nothing,
)
from covpool.extractor.annotation.features.origin import behind
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.genbank_records import records

#: Qualifiers that tell which gene a feature is of, best first: the first is an ID, /gene is a name. And those
#: that call a CDS or RNA without either.
_KEYS = ("locus_tag", "gene")
_OWN_KEYS = (*_KEYS, "protein_id", "label", "standard_name")
_ALIASES = ("gene", "locus_tag", "old_locus_tag", "gene_synonym", "db_xref")
_STRANDS: dict[Any, Strand] = {1: "+", -1: "-"}

Place = tuple[int, int, int]


@dataclass(frozen=True)
class _Feature:
    """`places` are start, end and sign of the strand of its pieces; around a circle they go on behind it."""

    kind: str
    values: dict[str, list[str]]
    places: tuple[Place, ...]

    @property
    def span(self) -> tuple[int, int]:
        return min(place[0] for place in self.places), max(place[1] for place in self.places)

    def first(self, *keys: str) -> str:
        return next((self.values[key][0] for key in keys if self.values.get(key)), "")

    def meets(self, start: int, end: int) -> bool:
        return self.span[0] < end and start < self.span[1]


def read_genbank(path: Path, repairs: Repairs) -> Features:
    """Genes, and exons and CDS of the features that share their locus tag, or the name of a gene around them.

    A CDS or RNA of no such gene is one itself. A gene that crosses the origin of a circular record ends
    beyond it: [end - 10, length + 10).

    Raises:
        AnnotationError: the file cannot be read, or is no GenBank.
    """
    found = nothing()
    columns = PartColumns()
    for record in records(path, repairs):
        if record.annotations.get("topology") == "circular":
            found.circular.add(record.id)
        found.other_names[record.id] = (record.name,)
        found.long(record.id, len(record.seq))
        columns.add_rows(_Record(record, found, repairs).rows())
    found.parts = columns.parts()
    return found


class _Record:
    """The genes of one record, added to those found, and its parts."""

    def __init__(self, record: Any, found: Features, repairs: Repairs) -> None:
        self._chrom = record.id
        self._found = found
        self._repairs = repairs
        length = len(record.seq) if record.id in found.circular else 0
        features = [one for feature in record.features if (one := _feature(feature, length, repairs))]
        self._lines = [line for one in features if one.kind == "gene" for line in self._gene(one)]
        found.genes += self._lines
        self._named: dict[str, list[GeneLine]] = defaultdict(list)
        for line in self._lines:
            for name in {line.id, line.symbol} - {""}:
                self._named[name].append(line)
        self._parts = [one for one in features if one.kind in ("CDS", "exon") or one.kind.endswith("RNA")]

    def rows(self) -> Iterator[tuple[int, str, int, int, int, str]]:
        """Code of the kind, chrom, start, end, sign of the strand, and parent of every part."""
        genes: dict[str, list[_Feature]] = defaultdict(list)
        for one in self._parts:
            if identity := self._identity(one):
                genes[identity].append(one)
        for identity, own in genes.items():
            for one, parent in _parents(identity, own, identity in self._named):
                if parent != identity:
                    self._found.above[parent] = (identity,)
                kind = CDS if one.kind == "CDS" else EXON
                for start, end, sign in one.places:
                    yield kind, self._chrom, start, end, sign, parent

    def _gene(self, one: _Feature) -> list[GeneLine]:
        identity = one.first(*_KEYS)
        names = [name for key in _ALIASES for name in one.values.get(key, ())]
        aliases = dict.fromkeys(part.strip() for name in names for part in name.split(";"))
        line = GeneLine(
            identity,
            one.first("gene") or identity,
            self._chrom,
            *one.span,
            _STRANDS.get(one.places[0][2], "."),
            tuple(alias for alias in aliases if alias != identity),
            _biotype(one),
            only_named="locus_tag" not in one.values,
        )
        if "trans_splicing" not in one.values and len({place[2] for place in one.places}) == 1:
            return [line]
        # Put together from several places: each is a gene of its own.
        return [
            replace(line, start=start, end=end, strand=_STRANDS.get(sign, "."), trans_spliced=True)
            for start, end, sign in one.places
        ]

    def _identity(self, one: _Feature) -> str:
        """The ID of its gene; of one made for it where there is none."""
        for key in _KEYS:
            for name in one.values.get(key, ()):
                lines = self._named.get(name, ())
                there = [line.id for line in lines if one.meets(line.start, line.end)]
                if there or any(line.id == name for line in lines):
                    return (there or [name])[0]
        keys = {"exon": _KEYS, "CDS": _OWN_KEYS}.get(one.kind, (*_OWN_KEYS, "product"))
        identity = one.first(*keys)
        if not identity and one.kind != "exon":
            start, end = one.span
            identity = f"{self._chrom}:{start}-{end}"
            self._repairs.add("no-id", f"{one.kind} {identity}")
        elif not identity:
            self._repairs.add("no-parent", f"{self._chrom}:{one.span[0]}-{one.span[1]} {one.kind}")
            return ""
        self._found.above.setdefault(identity, ())
        if identity not in self._found.described:
            names = [name for key in (*_ALIASES, "protein_id") for name in one.values.get(key, ())]
            aliases = tuple(name for name in dict.fromkeys(names) if name != identity)
            biotype = _biotype(one) or ("protein_coding" if one.kind == "CDS" else one.kind)
            self._found.described[identity] = Description(one.first("gene", "label"), aliases, biotype)
        return identity


def _feature(feature: Any, length: int, repairs: Repairs) -> _Feature | None:
    """One that lies in its record; `length` is that of a circular one, or 0."""
    pieces = feature.location.parts if feature.location else ()
    places = [(int(one.start), int(one.end), one.strand or 0) for one in pieces if one.ref is None]
    if len(places) < len(pieces):
        repairs.add("genbank", f"{feature.type} {feature.location}: what lies in other records is left out")
    if not places:
        return None
    if "trans_splicing" not in feature.qualifiers:
        places = _around(places, length)
    return _Feature(feature.type, feature.qualifiers, tuple(places))


def _around(places: list[Place], length: int) -> list[Place]:
    """Pieces moved behind the origin of a circle of `length` (0: none) where their order goes over it.

    So it does where, along the strand, one lies before the last, or where they meet at the origin. Of the two
    ways around the shorter is meant: a join that is only out of order would go nearly all around.
    """
    ordered = places[::-1] if all(place[2] < 0 for place in places) else places
    turns = any(other[0] < one[0] for one, other in pairwise(ordered))
    meet = len(places) > 1 and min(places)[0] == 0 and max(place[1] for place in places) == length
    if not length or len({place[2] for place in places}) > 1 or not (turns or meet):
        return places
    start, end = (np.array([place[at] for place in ordered], np.int64) for at in (0, 1))
    moved = length * behind(start, end, length)
    return [(one[0] + int(by), one[1] + int(by), one[2]) for one, by in zip(ordered, moved, strict=True)]


def _biotype(one: _Feature) -> str:
    return "pseudogene" if "pseudo" in one.values or "pseudogene" in one.values else ""


def _parents(identity: str, own: Sequence[_Feature], has_line: bool) -> Iterator[tuple[_Feature, str]]:
    """The features of a gene with their transcripts: the gene's own, where it has no more than one.

    GenBank does not say which mRNA a CDS is of: it is that which has all of its bases as exons, each once.
    """
    coding = [one for one in own if one.kind == "CDS"]
    spliced = [one for one in own if one.kind.endswith("RNA")]
    if not (has_line or _overlap(own) or any("locus_tag" in one.values for one in own)):
        # Genes of one name at several places.
        for one in own:
            yield one, identity if len(own) == 1 else f"{identity} {one.span[0] + 1}..{one.span[1]}"
        return
    if not (_overlap(coding) or _overlap(spliced)):
        yield from ((one, identity) for one in own)
        return
    called = {
        id(one): one.first("transcript_id", "protein_id") or f"{identity}.{number}"
        for number, one in enumerate([*spliced, *coding], start=1)
    }
    free = list(spliced)
    for one in own:
        if one not in coding and (one in spliced or not spliced):
            yield one, called.get(id(one), identity)
    for one in coding:
        of = next((other for other in free if _holds(other, one)), None)
        if of is not None:
            free.remove(of)
        yield one, called[id(one if of is None else of)]


def _overlap(features: Sequence[_Feature]) -> bool:
    spans = sorted(one.span for one in features)
    return any(other[0] < one[1] for one, other in pairwise(spans))


def _holds(spliced: _Feature, coding: _Feature) -> bool:
    """Whether the introns of a CDS are those of an RNA."""
    exons = sorted(place[:2] for place in spliced.places)
    blocks = sorted(place[:2] for place in coding.places)
    within = [(start, end) for start, end in exons if start < blocks[-1][1] and blocks[0][0] < end]
    if len(within) != len(blocks):
        return False
    return all(
        exon[0] <= block[0]
        and block[1] <= exon[1]
        and (at == 0 or exon[0] == block[0])
        and (at == len(blocks) - 1 or exon[1] == block[1])
        for at, (exon, block) in enumerate(zip(within, blocks, strict=True))
    )
