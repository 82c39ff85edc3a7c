"""Genome index: the places of the bases of each contig in a FASTA file; made in one pass, kept in a cache.

A contig is divided into stretches of at most `CHUNK` bytes without a header or comment. To read a region, the
blanks and line ends of its stretches are removed, and the region is cut out. So lines may have any length.
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
#: Version of the kept file; it is increased when the content changes. Other versions are ignored.
_VERSION = 1
#: Maximum number of contigs with a notice.
_MOST_NOTICES = 5


class Stretch(NamedTuple):
    """A stretch of the text of one contig.

    Attributes:
        begin, end: its offsets.
        before: bases of the contig before it.
        bases: bases in it.
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
        unfit: contigs that are not DNA, with the reason.
        notices: sentences about the file for the user who registers it.
        first: (contigs + 1,) number of the first stretch of each contig.
        begins, ends: (stretches,) offsets of each stretch.
        before: (stretches,) bases of its contig before it.
        packed, unpacked: (entries,) offsets of members of a bgzip file, in the file and in its text.
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
        """Stretches with the bases [start, end) of a contig, given by its number and its length."""
        first, last = int(self.first[contig]), int(self.first[contig + 1])
        before = self.before[first:last]
        begin = first + int(np.searchsorted(before, start, "right")) - 1
        stop = first + int(np.searchsorted(before, end, "left"))
        for at in range(begin, stop):
            following = length if at + 1 == last else int(self.before[at + 1])
            begin_base = int(self.before[at])
            yield Stretch(int(self.begins[at]), int(self.ends[at]), begin_base, following - begin_base)

    def to_bytes(self) -> bytes:
        """The content of the kept file."""
        about = {
            "version": _VERSION,
            "digest": self.digest,
            "size": self.size,
            "contigs": self.contigs,
            "unfit": self.unfit,
            "notices": self.notices,
        }
        buffer = io.BytesIO()
        arrays = {x.name: getattr(self, x.name) for x in fields(self) if x.name not in about}
        np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def of_bytes(cls, data: bytes, digest: str, size: int) -> "GenomeIndex | None":
        """The kept index; None if it has another version, or describes another file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays_file:
            about = json.loads(arrays_file["about"].tobytes())
            if (about.pop("version"), about["digest"], about["size"]) != (_VERSION, digest, size):
                return None
            about["notices"] = tuple(about["notices"])
            arrays = {name: arrays_file[name] for name in arrays_file.files if name != "about"}
        if len(arrays["first"]) != len(about["contigs"]) + 1:
            return None
        return cls(**about, **arrays)


def index_of(file: BinaryIO, path: Path) -> GenomeIndex:
    """The index of an open file: the kept index, or a new one.

    Raises:
        SequenceError: the file has no random access, is not FASTA, or changes meanwhile.
    """
    state = FileState.of(path, os.fstat(file.fileno()))
    digest = state.recall_digest()
    kept = recall(_KIND, _name(digest)) if digest is not None else None
    if digest is not None and kept is not None:
        index = GenomeIndex.of_bytes(kept, digest, state.size)
        if index is not None:
            return index
    fresh = _Making(str(path)).index(file)
    if FileState.of(path, os.fstat(file.fileno())) != state or fresh.size != state.size:
        raise SequenceError(f"{path}: changed while it was read; try again after it is written")
    remember(_KIND, _name(fresh.digest), fresh.to_bytes())
    state.remember_digest(fresh.digest)
    return fresh


def _name(digest: str) -> str:
    return f"{digest}.index-{_VERSION}"


class _Making:
    """Builds an index in one pass, which also computes the digest of the same bytes."""

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
        if fault := next((why for contents in self._contents if (why := contents.fault)), None):
            raise SequenceError(fault)
        by_name = dict(zip(self._names, self._contents, strict=True))
        unfit = {name: why for name, contents in by_name.items() if (why := contents.unfit) is not None}
        return GenomeIndex(
            digest=hashed.digest,
            size=hashed.size,
            contigs={name: contents.bases for name, contents in by_name.items()},
            unfit=unfit,
            notices=(*self._notices.sentences(), *_some(contents.notice for contents in self._contents)),
            first=np.array([*self._first, len(self._begins)], np.int64),
            begins=np.array(self._begins, np.int64),
            ends=np.array(self._ends, np.int64),
            before=np.array(self._before, np.int64),
            packed=np.array([member.packed for member in self._members], np.int64),
            unpacked=np.array([member.unpacked for member in self._members], np.int64),
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
        # Small members are read from an earlier entry.
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
    """The first notices, and the number of the others."""
    present = [notice for notice in notices if notice is not None]
    yield from present[:_MOST_NOTICES]
    if len(present) > _MOST_NOTICES:
        yield f"and so do {len(present) - _MOST_NOTICES:,} further contigs"


class _Hashed:
    """A file that is read once, with the digest of the bytes read."""

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
