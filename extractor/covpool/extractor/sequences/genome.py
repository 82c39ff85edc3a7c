"""Genome: random access to the contigs of a FASTA file, plain or bgzip, through an index of our own.

Bases are told from blanks and headers by `fasta_text`, as `read_fasta` does. The index is kept in the user's
cache directory: the file's own directory may be read-only. Convention: coordinates are 0-based and half-open.
"""

import errno
import hashlib
import os
import re
import stat
import threading
import weakref
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from covpool.extractor.errors import GenomeFileError, RegionError, SequenceError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.sequences.compression import CHUNK, GZIP, DamagedError, unpack
from covpool.extractor.sequences.fasta_text import BLANKS
from covpool.extractor.sequences.genome_index import index_of
from covpool.extractor.sequences.sequences import Sequence, normalise, reverse_complement

# From the end: names of contigs may hold colons, and look like regions themselves.
_REGION = re.compile(
    r"(?P<chrom>.+):(?P<start>[0-9][0-9,]{0,14})-(?P<end>[0-9][0-9,]{0,14})(?::(?P<strand>[+-]))?"
)


def parse_region(text: str, contigs: Collection[str] = ()) -> tuple[str, int, int, str]:
    """Chrom, start, end and strand of `chrom:start-end` or `chrom:start-end:strand`, 0-based half-open.

    Args:
        text: the region; its contig may have colons in its name.
        contigs: the names that are known, of which one is then meant.

    Raises:
        RegionError: the text is of another form, or ends before it begins.
    """
    text = text.strip()
    found = _REGION.fullmatch(text)
    known = found is not None and found["chrom"] in contigs
    if text in contigs and not known:
        raise RegionError(f"region {text[:80]!r}: is the name of a contig; write {text[:80]}:start-end")
    if found is None or not (known or re.fullmatch(r"[^\s:]\S*", found["chrom"])):
        raise RegionError(
            f"region {text[:80]!r}: write chrom:start-end or chrom:start-end:strand, 0-based half-open"
        )
    start, end = (int(found[name].replace(",", "")) for name in ("start", "end"))
    if start >= end:
        raise RegionError(f"region {text[:80]!r}: ends before it begins; regions are 0-based half-open")
    return found["chrom"], start, end, found["strand"] or "+"


class _ChangedError(Exception):
    """The text is not what was indexed."""


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What shows that a file was replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Genome:
    """A FASTA file by contig and coordinates; may be shared by threads.

    Args:
        path: FASTA, plain or bgzip (gzip knows no random access).

    Attributes:
        digest: SHA-256 of the file.
        contigs: lengths in bp by name, as `read_fasta` finds them.
        notices: what whoever registers the file should know of it, a sentence each.

    Raises:
        SequenceError: it cannot be read or is no FASTA; the message says where and what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if stat.S_ISFIFO(mode):
                raise SequenceError(f"{path}: is a pipe, and a genome is read many times; write it to a file")
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SequenceError(unreadable(error, str(path))) from error
        # Also when it is forgotten, as files are.
        self._close = weakref.finalize(self, os.close, self._descriptor)
        try:
            self._state = _state(os.fstat(self._descriptor))
            with open(self._descriptor, "rb", closefd=False) as file:
                self._index = index_of(file, path)
        except BaseException:
            self.close()
            raise
        # What it looked like when it was found to be another.
        self._other: tuple[int, ...] | None = None
        self._looking = threading.Lock()
        self.digest = self._index.digest
        self.contigs = self._index.contigs
        self.notices = self._index.notices
        self._numbers = {name: number for number, name in enumerate(self.contigs)}

    @property
    def has_changed(self) -> bool:
        """Whether another file lies at its path, or this one was written to."""
        try:
            return _state(self.path.stat()) != self._state
        except OSError:
            return True

    def sequence(
        self, chrom: str, start: int, end: int, strand: str = "+", *, name: str, circular: bool = False
    ) -> Sequence:
        """Normalised bases [start, end) of a contig, called `name`; on "-" their reverse complement.

        What goes on behind the end of a circular contig is read from its first base on, once around at most.

        Raises:
            RegionError: there is no such contig, or it ends before the region does.
            SequenceError: something in it is not DNA.
            GenomeFileError: the file cannot be read any more, or has changed.
        """
        if chrom not in self.contigs:
            known = ", ".join(list(self.contigs)[:5])
            raise RegionError(f"{name}: no contig is called {chrom!r}; there is {known}, …")
        length = self.contigs[chrom]
        limit = min(start, length - 1) + length if circular else length
        if not 0 <= start < end <= limit or start >= length:
            raise RegionError(f"{name}: {chrom}:{start}-{end} is not within its {length:,} bases")
        try:
            bases = self._letters(chrom, start, min(end, length))
            if end > length:
                bases += self._letters(chrom, 0, end - length)
            # Behind the read: what was read until now is what was indexed.
            self._check_unchanged()
        except OSError as error:
            # Where the file lies is not for everyone who asks for a gene of it.
            raise GenomeFileError(unreadable(error, f"{name}: its FASTA file")) from error
        except DamagedError as error:
            raise GenomeFileError(f"{name}: its FASTA file is damaged ({error}); {error.remedy}") from error
        except _ChangedError as error:
            raise GenomeFileError(
                f"{name}: its FASTA file has changed since it was opened; register it anew, then start again"
            ) from error
        found = normalise(bases.decode("ascii"), name, part=True)
        if chrom in self._index.unfit:
            # All of this region's letters are nucleotide codes, but its contig's are not.
            raise SequenceError(f"{name}: {self._index.unfit[chrom]}")
        if strand == "+":
            return found
        return Sequence(name, reverse_complement(found.bases), found.ambiguous, found.uracils)

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_unchanged(self) -> None:
        """Look at the file, and read all of it again where it was touched since it was indexed."""
        with self._looking:
            state = _state(os.fstat(self._descriptor))
            if state == self._state:
                return
            if state == self._other or self._digest_now() != self.digest:
                self._other = state
                raise _ChangedError
            self._state = state

    def _digest_now(self) -> str:
        found, at = hashlib.sha256(), 0
        while data := self._bytes(CHUNK, at):
            found.update(data)
            at += len(data)
        return found.hexdigest()

    def _letters(self, chrom: str, start: int, end: int) -> bytes:
        """The letters [start, end) of a contig, as the file has them."""
        found = list[bytes]()
        skip = None
        number, length = self._numbers[chrom], self.contigs[chrom]
        for stretch in self._index.stretches(number, length, start, end):
            letters = self._text(stretch.begin, stretch.end).translate(None, BLANKS)
            if len(letters) != stretch.bases or not letters.isascii():
                raise _ChangedError
            skip = start - stretch.before if skip is None else skip
            found.append(letters)
        return b"".join(found)[skip or 0 :][: end - start]

    def _text(self, begin: int, end: int) -> bytes:
        """The unpacked text [begin, end) of the file."""
        return self._unpacked(begin, end) if self._index.is_packed else self._read(begin, end - begin)

    def _unpacked(self, begin: int, end: int) -> bytes:
        entry = int(np.searchsorted(self._index.unpacked, begin, "right")) - 1
        at, place = int(self._index.unpacked[entry]), int(self._index.packed[entry])

        def read(size: int) -> bytes:
            nonlocal place
            data = self._bytes(size, place)
            place += len(data)
            return data

        found = list[bytes]()
        first = at
        for data in unpack(read, GZIP):
            at += len(data)
            if at > begin:
                found.append(data)
            else:
                first = at
            if at >= end:
                break
        return b"".join(found)[begin - first :][: end - begin]

    def _read(self, begin: int, size: int) -> bytes:
        found = b""
        # The system may give less than it is asked for.
        while data := self._bytes(size - len(found), begin + len(found)):
            found += data
        return found

    def _bytes(self, size: int, offset: int) -> bytes:
        if not self._close.alive:
            # Its number may be that of another file by now.
            raise OSError(errno.EBADF, "it was closed")
        return os.pread(self._descriptor, size, offset)
