"""Verified files: reads return only bytes that agree with the digest of the file.

A file that is mapped, or read after its digest was computed, may have changed: it may be replaced, or written
within one clock tick, with the same size, inode and times. So it is read block by block, and each block is
checked in memory against its own digest. The digests of the blocks are computed together with that of the
whole file and kept in the user's cache under it, so a file that was seen before is read once.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from covpool.extractor.errors import CheckpointError
from covpool.extractor.files.digests import FileState
from covpool.extractor.files.user_cache import recall, remember

#: Bytes of a block; one block is held in memory.
BLOCK = 1 << 22
_KIND = "blocks"
_SUM_BYTES = hashlib.sha256().digest_size


class SeekableFile(io.RawIOBase):
    """The position of a reader of known size, and its moves."""

    size: int
    _at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at


class VerifiedFile(SeekableFile):
    """An open file of a checkpoint; reads raise if its content has changed.

    Args:
        path: of the file.
        digest: SHA-256 of the expected content.

    Attributes:
        size: in bytes.
        refusal: the error of a read that was refused.

    Raises:
        CheckpointError: the file has changed, on opening or at any read.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self._digest = path, digest
        self.refusal: CheckpointError | None = None
        self._file = path.open("rb", buffering=0)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._sums = self._kept_sums() or self._taken_sums()
        except BaseException:
            self.close()
            raise
        self._held: tuple[int, bytearray] | None = None

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position on.

        Raises:
            CheckpointError: a block of the read has changed.
        """
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._at < self.size:
            block, skip = divmod(self._at, BLOCK)
            rest = min(BLOCK, self.size - block * BLOCK) - skip
            taken = min(rest, len(view) - filled)
            into = view[filled : filled + taken]
            if skip == 0 and taken == rest:
                self._take(block, into)
            else:
                into[:] = memoryview(self._block(block))[skip : skip + taken]
            filled += taken
            self._at += taken
        return filled

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _block(self, block: int) -> bytearray:
        if self._held is None or self._held[0] != block:
            content = bytearray(min(BLOCK, self.size - block * BLOCK))
            self._take(block, memoryview(content))
            self._held = block, content
        return self._held[1]

    def _take(self, block: int, into: memoryview) -> None:
        """Fill a buffer with a block, and check it."""
        filled = 0
        while filled < len(into):
            got = os.preadv(self._file.fileno(), [into[filled:]], block * BLOCK + filled)
            if not got:
                break
            filled += got
        expected = self._sums[block * _SUM_BYTES : (block + 1) * _SUM_BYTES]
        if filled < len(into) or hashlib.sha256(into).digest() != expected:
            self.refusal = changed(self._path)
            raise self.refusal

    def _kept_sums(self) -> bytes | None:
        kept = recall(_KIND, self._digest)
        # For another size they do not fit; the digest of the whole file then decides.
        return kept if kept is not None and len(kept) == _SUM_BYTES * -(-self.size // BLOCK) else None

    def _taken_sums(self) -> bytes:
        total, sums = hashlib.sha256(), []
        while data := self._file.read(BLOCK):
            # The system may return less than requested.
            while len(data) < BLOCK and (more := self._file.read(BLOCK - len(data))):
                data += more
            total.update(data)
            sums.append(hashlib.sha256(data).digest())
        joined = b"".join(sums)
        if total.hexdigest() != self._digest or len(sums) != -(-self.size // BLOCK):
            raise changed(self._path)
        remember(_KIND, self._digest, joined)
        return joined


def changed(path: Path) -> CheckpointError:
    """The error of a file that changed after its model was described."""
    # On some network drives times do not change; without the kept digest the content is read next time.
    if (state := FileState.at(path)) is not None:
        state.forget_digest()
    return CheckpointError(
        f"{path}: has changed since its model was described, so nothing is computed with it; leave it as it "
        "is now, restart the service and its workers (or this command), then submit again"
    )
