"""Genome: random access to the contigs of a FASTA file, plain or bgzip, through its own index.

`fasta_text` separates bases from blanks and headers, as for `read_fasta`. The index is kept in the user's
cache directory: the file's directory may be read-only. Convention: coordinates are 0-based and half-open.
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
from typing import Self

import numpy as np

from covpool.extractor.errors import GenomeFileError, RegionError, SequenceError
from covpool.extractor.files.unreadable import unreadable
from covpool.extractor.sequences.compression import CHUNK, GZIP, DamagedError, unpack
from covpool.extractor.sequences.fasta_text import BLANKS
from covpool.extractor.sequences.genome_index import index_of
from covpool.extractor.sequences.sequences import Sequence, normalise, reverse_complement

# Matched from the end: contig names may hold colons, and may look like regions.
_REGION = re.compile(
    r"(?P<chrom>.+):(?P<start>[0-9][0-9,]{0,14})-(?P<end>[0-9][0-9,]{0,14})(?::(?P<strand>[+-]))?"
)


def parse_region(text: str, contigs: Collection[str] = ()) -> tuple[str, int, int, str]:
    """Chrom, start, end and strand of `chrom:start-end` or `chrom:start-end:strand`, 0-based half-open.

    Args:
        text: the region; its contig may have colons in its name.
        contigs: known contig names; they decide if the text is ambiguous.

    Raises:
        RegionError: the text has another form, or its end is not after its start.
    """
    text = text.strip()
    match = _REGION.fullmatch(text)
    is_contig = match is not None and match["chrom"] in contigs
    if text in contigs and not is_contig:
        raise RegionError(f"region {text[:80]!r}: is the name of a contig; write {text[:80]}:start-end")
    if match is None or not (is_contig or re.fullmatch(r"[^\s:]\S*", match["chrom"])):
        raise RegionError(
            f"region {text[:80]!r}: write chrom:start-end or chrom:start-end:strand, 0-based half-open"
        )
    start, end = (int(match[name].replace(",", "")) for name in ("start", "end"))
    if start >= end:
        raise RegionError(f"region {text[:80]!r}: ends before it begins; regions are 0-based half-open")
    return match["chrom"], start, end, match["strand"] or "+"


class _ChangedError(Exception):
    """The text differs from the indexed text."""


def _state(status: os.stat_result) -> tuple[int, ...]:
    """Values that change if a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Genome:
    """A FASTA file read by contig and coordinates; threads may share it.

    Args:
        path: FASTA, plain or bgzip (gzip has no random access).

    Attributes:
        digest: SHA-256 of the file.
        contigs: lengths in bp by name, as `read_fasta` finds them.
        notices: sentences about the file for the user who registers it.

    Raises:
        SequenceError: the file cannot be read or is not FASTA; the message has the place and the remedy.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = Path(path)
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if stat.S_ISFIFO(mode):
                raise SequenceError(f"{path}: is a pipe, but a genome is read many times; write it to a file")
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SequenceError(unreadable(error, str(path))) from error
        # Also closes the file when the object is garbage collected.
        self._close = weakref.finalize(self, os.close, self._descriptor)
        try:
            self._state = _state(os.fstat(self._descriptor))
            with open(self._descriptor, "rb", closefd=False) as file:
                self._index = index_of(file, path)
        except BaseException:
            self.close()
            raise
        # State of the file when its content was seen to differ.
        self._other: tuple[int, ...] | None = None
        self._looking = threading.Lock()
        self.digest = self._index.digest
        self.contigs = self._index.contigs
        self.notices = self._index.notices
        self._numbers = {name: number for number, name in enumerate(self.contigs)}

    @property
    def has_changed(self) -> bool:
        """Whether its path has another file, or this file was written to."""
        try:
            return _state(self.path.stat()) != self._state
        except OSError:
            return True

    def sequence(
        self, chrom: str, start: int, end: int, strand: str = "+", *, name: str, circular: bool = False
    ) -> Sequence:
        """Normalised bases [start, end) of a contig, named `name`; on "-" their reverse complement.

        On a circular contig, bases after its end are read from its first base, at most once around.

        Raises:
            RegionError: there is no such contig, or the region extends beyond it.
            SequenceError: the region or its contig is not DNA.
            GenomeFileError: the file can no longer be read, or has changed.
        """
        if chrom not in self.contigs:
            names = ", ".join(list(self.contigs)[:5])
            raise RegionError(f"{name}: no contig is named {chrom!r}; there are {names}, …")
        length = self.contigs[chrom]
        limit = min(start, length - 1) + length if circular else length
        if not 0 <= start < end <= limit or start >= length:
            raise RegionError(f"{name}: {chrom}:{start}-{end} is not within its {length:,} bases")
        try:
            bases = self._letters(chrom, start, min(end, length))
            if end > length:
                bases += self._letters(chrom, 0, end - length)
            # Checked after the read: the bytes read so far are those that were indexed.
            self._check_unchanged()
        except OSError as error:
            # The message leaves out the path: a user who reads a gene need not know it.
            raise GenomeFileError(unreadable(error, f"{name}: its FASTA file")) from error
        except DamagedError as error:
            raise GenomeFileError(f"{name}: its FASTA file is damaged ({error}); {error.remedy}") from error
        except _ChangedError as error:
            raise GenomeFileError(
                f"{name}: its FASTA file has changed since it was opened; register it again, then start again"
            ) from error
        sequence = normalise(bases.decode("ascii"), name, part=True)
        if chrom in self._index.unfit:
            # All letters of this region are nucleotide codes, but those of its contig are not.
            raise SequenceError(f"{name}: {self._index.unfit[chrom]}")
        if strand == "+":
            return sequence
        return Sequence(name, reverse_complement(sequence.bases), sequence.ambiguous, sequence.uracils)

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close()

    def _check_unchanged(self) -> None:
        """Check the state of the file; if it changed since the index was made, check the digest."""
        with self._looking:
            state = _state(os.fstat(self._descriptor))
            if state == self._state:
                return
            if state == self._other or self._digest_now() != self.digest:
                self._other = state
                raise _ChangedError
            self._state = state

    def _digest_now(self) -> str:
        digest, at = hashlib.sha256(), 0
        while data := self._bytes(CHUNK, at):
            digest.update(data)
            at += len(data)
        return digest.hexdigest()

    def _letters(self, chrom: str, start: int, end: int) -> bytes:
        """The letters [start, end) of a contig, as in the file."""
        pieces = list[bytes]()
        skip = None
        number, length = self._numbers[chrom], self.contigs[chrom]
        for stretch in self._index.stretches(number, length, start, end):
            letters = self._text(stretch.begin, stretch.end).translate(None, BLANKS)
            if len(letters) != stretch.bases or not letters.isascii():
                raise _ChangedError
            skip = start - stretch.before if skip is None else skip
            pieces.append(letters)
        return b"".join(pieces)[skip or 0 :][: end - start]

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

        pieces = list[bytes]()
        first = at
        for data in unpack(read, GZIP):
            at += len(data)
            if at > begin:
                pieces.append(data)
            else:
                first = at
            if at >= end:
                break
        return b"".join(pieces)[begin - first :][: end - begin]

    def _read(self, begin: int, size: int) -> bytes:
        data_read = b""
        # The system may return less than requested.
        while data := self._bytes(size - len(data_read), begin + len(data_read)):
            data_read += data
        return data_read

    def _bytes(self, size: int, offset: int) -> bytes:
        if not self._close.alive:
            # The descriptor may belong to another file now.
            raise OSError(errno.EBADF, "it was closed")
        return os.pread(self._descriptor, size, offset)
