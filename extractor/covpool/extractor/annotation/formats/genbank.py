"""GenBank flat files: genes, and the assignment of the other features to them."""

import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
    is_coordinate,
)
from covpool.extractor.annotation.features.origin import past_origin
from covpool.extractor.annotation.features.repairs import Repairs
from covpool.extractor.annotation.formats.text import lines
from covpool.extractor.errors import AnnotationError

#: Qualifiers that name the gene of a feature, best first: the first is an ID, /gene is a name. The others
#: name a CDS or RNA that has neither.
_KEYS = ("locus_tag", "gene")
_OWN_KEYS = (*_KEYS, "protein_id", "label", "standard_name")
_ALIASES = ("gene", "locus_tag", "old_locus_tag", "gene_synonym", "db_xref")
_STRANDS: dict[Any, Strand] = {1: "+", -1: "-"}

Place = tuple[int, int, int]


@dataclass(frozen=True)
class _Feature:
    """`places` are start, end and strand sign of its pieces; in a circular record they may exceed its end."""

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
    """Genes, and the exons and CDS of features with their locus tag, or with the name of a gene around them.

    A CDS or RNA without such a gene is itself a gene. A gene that crosses the origin of a circular record
    ends after it: [end - 10, length + 10).

    Raises:
        AnnotationError: the file cannot be read, or is not GenBank.
    """
    features = Features()
    columns = PartColumns()
    for record in records(path, repairs):
        if record.annotations.get("topology") == "circular":
            features.circular.add(record.id)
        features.other_names[record.id] = (record.name,)
        features.long(record.id, len(record.seq))
        columns.add_rows(_Record(record, features, repairs).rows())
    features.parts = columns.parts()
    return features


class _Record:
    """The genes of one record, which are added to `features`, and its parts."""

    def __init__(self, record: Any, features: Features, repairs: Repairs) -> None:
        self._chrom = record.id
        self._features = features
        self._repairs = repairs
        length = len(record.seq) if record.id in features.circular else 0
        own_features = [x for raw in record.features if (x := _feature(raw, length, repairs))]
        self._lines = [line for x in own_features if x.kind == "gene" for line in self._gene(x)]
        features.genes += self._lines
        self._named: dict[str, list[GeneLine]] = defaultdict(list)
        for line in self._lines:
            for name in {line.id, line.symbol} - {""}:
                self._named[name].append(line)
        self._parts = [x for x in own_features if x.kind in ("CDS", "exon") or x.kind.endswith("RNA")]

    def rows(self) -> Iterator[tuple[int, str, int, int, int, str]]:
        """Code of the kind, chrom, start, end, sign of the strand, and parent of every part."""
        genes: dict[str, list[_Feature]] = defaultdict(list)
        for part in self._parts:
            if identity := self._identity(part):
                genes[identity].append(part)
        for identity, own in genes.items():
            for part, parent in _parents(identity, own, identity in self._named):
                if parent != identity:
                    self._features.above[parent] = (identity,)
                kind = CDS if part.kind == "CDS" else EXON
                for start, end, sign in part.places:
                    yield kind, self._chrom, start, end, sign, parent

    def _gene(self, feature: _Feature) -> list[GeneLine]:
        identity = feature.first(*_KEYS)
        names = [name for key in _ALIASES for name in feature.values.get(key, ())]
        aliases = dict.fromkeys(part.strip() for name in names for part in name.split(";"))
        line = GeneLine(
            identity,
            feature.first("gene") or identity,
            self._chrom,
            *feature.span,
            _STRANDS.get(feature.places[0][2], "."),
            tuple(alias for alias in aliases if alias != identity),
            _biotype(feature),
            only_named="locus_tag" not in feature.values,
        )
        if "trans_splicing" not in feature.values and len({place[2] for place in feature.places}) == 1:
            return [line]
        # Joined from several places: each place is a separate gene.
        return [
            replace(line, start=start, end=end, strand=_STRANDS.get(sign, "."), trans_spliced=True)
            for start, end, sign in feature.places
        ]

    def _identity(self, part: _Feature) -> str:
        """The ID of the feature's gene; a gene is described for it if there is none."""
        for key in _KEYS:
            for name in part.values.get(key, ()):
                lines = self._named.get(name, ())
                nearby = [line.id for line in lines if part.meets(line.start, line.end)]
                if nearby or any(line.id == name for line in lines):
                    return (nearby or [name])[0]
        keys = {"exon": _KEYS, "CDS": _OWN_KEYS}.get(part.kind, (*_OWN_KEYS, "product"))
        identity = part.first(*keys)
        if not identity and part.kind != "exon":
            start, end = part.span
            identity = f"{self._chrom}:{start}-{end}"
            self._repairs.add("no-id", f"{part.kind} {identity}")
        elif not identity:
            self._repairs.add("no-parent", f"{self._chrom}:{part.span[0]}-{part.span[1]} {part.kind}")
            return ""
        self._features.above.setdefault(identity, ())
        if identity not in self._features.described:
            names = [name for key in (*_ALIASES, "protein_id") for name in part.values.get(key, ())]
            aliases = tuple(name for name in dict.fromkeys(names) if name != identity)
            biotype = _biotype(part) or ("protein_coding" if part.kind == "CDS" else part.kind)
            self._features.described[identity] = Description(part.first("gene", "label"), aliases, biotype)
        return identity


def _feature(feature: Any, length: int, repairs: Repairs) -> _Feature | None:
    """The feature, if it lies in its record; `length` is that of a circular record, or 0."""
    # The truth value of a location is its length, which may be too large for one.
    pieces = () if feature.location is None else feature.location.parts
    places = [(int(piece.start), int(piece.end), piece.strand or 0) for piece in pieces if piece.ref is None]
    if len(places) < len(pieces):
        repairs.add("genbank", f"{feature.type} {feature.location}: pieces in other records are left out")
    if not all(is_coordinate(bound) for start, end, _ in places for bound in (start, end)):
        repairs.add("coordinates", f"{feature.type} {feature.location}")
        return None
    if not places:
        return None
    if "trans_splicing" not in feature.qualifiers:
        places = _around(places, length)
    return _Feature(feature.type, feature.qualifiers, tuple(places))


def _around(places: list[Place], length: int) -> list[Place]:
    """Pieces of a circular record of `length` (0: linear), moved past the origin if their order crosses it.

    It does if, along the strand, a piece lies before the previous one, or if pieces meet at the origin. The
    shorter way around is used: a join that is only out of order would go nearly all the way around.
    """
    ordered = places[::-1] if all(place[2] < 0 for place in places) else places
    turns = any(latter[0] < place[0] for place, latter in pairwise(ordered))
    meet = len(places) > 1 and min(places)[0] == 0 and max(place[1] for place in places) == length
    if not length or len({place[2] for place in places}) > 1 or not (turns or meet):
        return places
    starts, ends = (np.array([place[at] for place in ordered], np.int64) for at in (0, 1))
    moved = length * past_origin(starts, ends, length)
    return [
        (start + int(by), end + int(by), sign) for (start, end, sign), by in zip(ordered, moved, strict=True)
    ]


def _biotype(feature: _Feature) -> str:
    return "pseudogene" if "pseudo" in feature.values or "pseudogene" in feature.values else ""


def _parents(identity: str, own: Sequence[_Feature], has_line: bool) -> Iterator[tuple[_Feature, str]]:
    """The features of a gene with the names of their transcripts; with one transcript, the name of the gene.

    GenBank does not state the mRNA of a CDS: it is the mRNA with the same introns, and each is used once.
    """
    coding = [x for x in own if x.kind == "CDS"]
    spliced = [x for x in own if x.kind.endswith("RNA")]
    if not (has_line or _overlap(own) or any("locus_tag" in x.values for x in own)):
        # Several genes with one name.
        for x in own:
            yield x, identity if len(own) == 1 else f"{identity} {x.span[0] + 1}..{x.span[1]}"
        return
    if not (_overlap(coding) or _overlap(spliced)):
        yield from ((x, identity) for x in own)
        return
    called = {
        id(x): x.first("transcript_id", "protein_id") or f"{identity}.{number}"
        for number, x in enumerate([*spliced, *coding], start=1)
    }
    free = list(spliced)
    for x in own:
        if x not in coding and (x in spliced or not spliced):
            yield x, called.get(id(x), identity)
    for x in coding:
        partner = next((rna for rna in free if _holds(rna, x)), None)
        if partner is not None:
            free.remove(partner)
        yield x, called[id(x if partner is None else partner)]


def _overlap(features: Sequence[_Feature]) -> bool:
    spans = sorted(former.span for former in features)
    return any(latter[0] < former[1] for former, latter in pairwise(spans))


def _holds(spliced: _Feature, coding: _Feature) -> bool:
    """Whether the introns of a CDS are introns of the RNA."""
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
