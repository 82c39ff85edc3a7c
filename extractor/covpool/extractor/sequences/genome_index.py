"""Genome index: where in a FASTA file the bases of each contig lie; made in one pass, kept in a cache.

A contig is cut into stretches of some ten thousand bytes without a header or comment in them; a region is cut
out of the stretches that it touches once their blanks and line ends are gone. So lines may be of any length.
Convention: offsets are bytes of the unpacked text; bases are counted from 0, intervals half-open.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import SequenceError
from covpool.extractor.files.digests import FileState
from covpool.extractor.files.user_cache import recall, remember
from covpool.extractor.sequences.compression import CHUNK, GZIP, Format, Member
from covpool.extractor.sequences.fasta_text import Comment, FastaText, Header, Piece
from covpool.extractor.sequences.genome_contents import Contents, Notices

Offsets = NDArray[np.int64]

_KIND = "genomes"
#: Raised when what is kept changes; files of other versions are not looked at.
_VERSION = 1
#: Contigs of which a notice tells.
_MOST_NOTICES = 5


class Stretch(NamedTuple):
    """Text of one contig.

    Attributes:
        begin, end: its offsets.
        before: bases of the contig before it.
        bases: that it holds.
    """

    begin: int
    end: int
    before: int
    bases: int


@dataclass(frozen=True)
class GenomeIndex:
    """The index of one file.

    Attributes:
        digest: SHA-256 of the file.
        size: of the file, in bytes.
        contigs: lengths in bases by name, in file order.
        unfit: contigs that are no DNA, with the reason.
        notices: what the one who registers the file should know, a sentence each.
        first: (contigs + 1,) number of the first stretch of each contig.
        begins, ends: (stretches,) offsets of each stretch.
        before: (stretches,) bases of its contig that lie before it.
        packed, unpacked: (entries,) of a bgzip file, offsets in it where a member begins, and in its text.
    """

    digest: str
    size: int
    contigs: dict[str, int]
    unfit: dict[str, str]
    notices: tuple[str, ...]
    first: Offsets
    begins: Offsets
    ends: Offsets
    before: Offsets
    packed: Offsets
    unpacked: Offsets

    @property
    def is_packed(self) -> bool:
        """Whether the file is bgzip."""
        return len(self.packed) > 0

    def stretches(self, contig: int, length: int, start: int, end: int) -> Iterator[Stretch]:
        """Stretches that hold the bases [start, end) of a contig, told by its number and its length."""
        first, last = int(self.first[contig]), int(self.first[contig + 1])
        before = self.before[first:last]
        begin = first + int(np.searchsorted(before, start, "right")) - 1
        behind = first + int(np.searchsorted(before, end, "left"))
        for at in range(begin, behind):
            following = length if at + 1 == last else int(self.before[at + 1])
            begin_base = int(self.before[at])
            yield Stretch(int(self.begins[at]), int(self.ends[at]), begin_base, following - begin_base)

    def to_bytes(self) -> bytes:
        """As it is kept."""
        about = {
            "version": _VERSION,
            "digest": self.digest,
            "size": self.size,
            "contigs": self.contigs,
            "unfit": self.unfit,
            "notices": self.notices,
        }
        buffer = io.BytesIO()
        arrays = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in about}
        np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def of_bytes(cls, data: bytes, digest: str, size: int) -> "GenomeIndex | None":
        """The index that was kept; None where it is of another version, or describes another file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            about = json.loads(found["about"].tobytes())
            if (about.pop("version"), about["digest"], about["size"]) != (_VERSION, digest, size):
                return None
            about["notices"] = tuple(about["notices"])
            arrays = {name: found[name] for name in found.files if name != "about"}
        if len(arrays["first"]) != len(about["contigs"]) + 1:
            return None
        return cls(**about, **arrays)


def index_of(file: BinaryIO, path: Path) -> GenomeIndex:
    """The index of an open file: the kept one, or one made now.

    Raises:
        SequenceError: the file cannot be read at random or is no FASTA, or changes meanwhile.
    """
    state = FileState.of(path, os.fstat(file.fileno()))
    digest = state.recall_digest()
    kept = recall(_KIND, _name(digest)) if digest is not None else None
    if digest is not None and kept is not None:
        found = GenomeIndex.of_bytes(kept, digest, state.size)
        if found is not None:
            return found
    made = _Making(str(path)).index(file)
    if FileState.of(path, os.fstat(file.fileno())) != state or made.size != state.size:
        raise SequenceError(f"{path}: changed while it was read; try again once it is written")
    remember(_KIND, _name(made.digest), made.to_bytes())
    state.remember_digest(made.digest)
    return made


def _name(digest: str) -> str:
    return f"{digest}.index-{_VERSION}"


class _Making:
    """An index in the making: one pass, which takes the digest of the same bytes."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._names: list[str] = []
        self._contents: list[Contents] = []
        self._first: list[int] = []
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._before: list[int] = []
        self._members: list[Member] = []
        self._notices = Notices()

    def index(self, file: BinaryIO) -> GenomeIndex:
        """The index of this file."""
        hashed = _Hashed(file)
        for event in FastaText(hashed, self._label, form=self._check_form, begun=self._enter):  # type: ignore[arg-type]
            match event:
                case Header():
                    self._begin(event)
                case Piece():
                    self._add(event)
                case Comment():
                    self._notices.add("comments", event.line)
        if fault := next((why for one in self._contents if (why := one.fault)), None):
            raise SequenceError(fault)
        contents = dict(zip(self._names, self._contents, strict=True))
        unfit = {name: why for name, one in contents.items() if (why := one.unfit) is not None}
        return GenomeIndex(
            digest=hashed.digest,
            size=hashed.size,
            contigs={name: one.bases for name, one in contents.items()},
            unfit=unfit,
            notices=(*self._notices.told(), *_some(one.notice for one in self._contents)),
            first=np.array([*self._first, len(self._begins)], np.int64),
            begins=np.array(self._begins, np.int64),
            ends=np.array(self._ends, np.int64),
            before=np.array(self._before, np.int64),
            packed=np.array([one.packed for one in self._members], np.int64),
            unpacked=np.array([one.unpacked for one in self._members], np.int64),
        )

    def _check_form(self, form: Format | None) -> None:
        if form is not None and form is not GZIP:
            raise SequenceError(
                f"{self._label}: {form.name} has no random access; unpack it ({form.unpack}), or pack it "
                "with bgzip"
            )

    def _enter(self, member: Member) -> None:
        if not member.bgzip:
            raise SequenceError(
                f"{self._label}: gzip has no random access; unpack it (gunzip -k), or pack it with bgzip"
            )
        # Small members are reached from one before them.
        if not self._members or member.unpacked - self._members[-1].unpacked >= CHUNK // 2:
            self._members.append(member)

    def _begin(self, header: Header) -> None:
        self._names.append(header.name)
        self._contents.append(Contents(header, self._label))
        self._first.append(len(self._begins))

    def _add(self, piece: Piece) -> None:
        contents = self._contents[-1]
        before = contents.bases
        contents.add(piece, self._notices)
        end = piece.offset + len(piece.text)
        joins = len(self._begins) > self._first[-1] and self._ends[-1] == piece.offset
        if joins and end - self._begins[-1] <= CHUNK:
            self._ends[-1] = end
        elif contents.bases > before:
            self._begins.append(piece.offset)
            self._ends.append(end)
            self._before.append(before)


def _some(notices: Iterable[str | None]) -> Iterator[str]:
    """The first of the notices there are, and how many follow."""
    found = [one for one in notices if one is not None]
    yield from found[:_MOST_NOTICES]
    if len(found) > _MOST_NOTICES:
        yield f"and so do {len(found) - _MOST_NOTICES:,} further contigs"


class _Hashed:
    """A file that is read once, with the digest of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return self._sum.hexdigest()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        self.size += len(data)
        return data

    def fileno(self) -> int:
        return self._file.fileno()
