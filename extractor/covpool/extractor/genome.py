"""Genome: random access to the contigs of a FASTA file, plain or bgzip, through an index.

Indexing and reading are pyfaidx's. The index is kept in the user's cache directory under the file's digest:
the file's own directory may be read-only. Convention: coordinates are 0-based and half-open.
"""

import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from pyfaidx import Faidx, FastaIndexingError, UnsupportedCompressionFormat

from covpool.extractor.digests import file_digest
from covpool.extractor.errors import RegionError, SequenceError
from covpool.extractor.sequences import Sequence, normalise, reverse_complement

_REGION = re.compile(
    r"(?P<chrom>[^\s:][^:]*):(?P<start>[0-9][0-9,]{0,14})-(?P<end>[0-9][0-9,]{0,14})(?::(?P<strand>[+-]))?"
)


def parse_region(text: str) -> tuple[str, int, int, str]:
    """Chrom, start, end and strand of `chrom:start-end` or `chrom:start-end:strand`, 0-based half-open.

    Raises:
        RegionError: the text is of another form, or ends before it begins.
    """
    found = _REGION.fullmatch(text.strip())
    if found is None:
        raise RegionError(
            f"region {text[:80]!r}: write chrom:start-end or chrom:start-end:strand, 0-based half-open"
        )
    start, end = (int(found[name].replace(",", "")) for name in ("start", "end"))
    if start >= end:
        raise RegionError(f"region {text[:80]!r}: ends before it begins; regions are 0-based half-open")
    return found["chrom"], start, end, found["strand"] or "+"


class Genome:
    """A FASTA file by contig and coordinates; may be shared by threads.

    Args:
        path: FASTA, plain or bgzip (gzip knows no random access).

    Raises:
        SequenceError: it cannot be read or indexed; the message says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            #: SHA-256 of the file.
            self.digest = file_digest(path)
            index = _index_of(self.digest)
            self._faidx = Faidx(str(path), indexname=f"{index}.fai", gzi_indexname=f"{index}.gzi")
        except UnsupportedCompressionFormat as error:
            raise SequenceError(
                f"{path}: gzip has no random access; unpack it (gunzip -k), or pack it with bgzip"
            ) from error
        except (OSError, ValueError, FastaIndexingError) as error:
            raise SequenceError(f"{path}: cannot be indexed ({error}); check that it is FASTA") from error
        #: Lengths in bp by name.
        self.contigs: dict[str, int] = {name: entry.rlen for name, entry in self._faidx.index.items()}
        if not self.contigs:
            self.close()
            raise SequenceError(f"{path}: holds no FASTA record; begin with '>id' and bases below it")

    def sequence(
        self, chrom: str, start: int, end: int, strand: str = "+", *, name: str, circular: bool = False
    ) -> Sequence:
        """Normalised bases [start, end) of a contig, called `name`; on "-" their reverse complement.

        What goes on behind the end of a circular contig is read from its first base on, once around at most.

        Raises:
            RegionError: there is no such contig, or it ends before the region does.
            SequenceError: something in it is not DNA.
        """
        if chrom not in self.contigs:
            known = ", ".join(list(self.contigs)[:5])
            raise RegionError(f"{name}: no contig is called {chrom!r}; there is {known}, …")
        length = self.contigs[chrom]
        limit = min(start, length - 1) + length if circular else length
        if not 0 <= start < end <= limit or start >= length:
            raise RegionError(f"{name}: {chrom}:{start}-{end} is not within its {length:,} bases")
        # pyfaidx counts from 1, both ends included.
        bases = self._faidx.fetch(chrom, start + 1, min(end, length)).seq
        if end > length:
            bases += self._faidx.fetch(chrom, 1, end - length).seq
        found = normalise(bases, name)
        if strand == "+":
            return found
        return Sequence(name, reverse_complement(found.bases), found.ambiguous, found.uracils)

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _index_of(digest: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "covpool" / "genomes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / digest
