"""Verified files: what is read of one are the bytes that its digest was taken of, whatever becomes of it.

A file that is mapped, or read after its digest was taken, may be another by then: replaced, or written over
within one tick of the clock, so that neither size, inode nor times tell. So it is read block by block, and
each block is tested where it lies in memory, by digests that were taken together with that of the whole file.
They are kept in the user's cache under the latter: a file that was seen before is read once.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from covpool.extractor.errors import CheckpointError
from covpool.extractor.files.digests import FileState
from covpool.extractor.files.user_cache import recall, remember

#: Bytes of a block, of which one is held.
BLOCK = 1 << 22
_KIND = "blocks"
_SUM_BYTES = hashlib.sha256().digest_size


class SeekableFile(io.RawIOBase):
    """What readers of a known size share: the position, and how it moves."""

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
    """A file of a checkpoint, open; reads raise where it is not what was described.

    Args:
        path: of the file.
        digest: SHA-256 that it was described with.

    Attributes:
        size: in bytes.
        refusal: the error of a read that was refused.

    Raises:
        CheckpointError: it has changed, now or at any read.
        OSError: it cannot be read.
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
            CheckpointError: a block that it touches has changed.
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
            found = bytearray(min(BLOCK, self.size - block * BLOCK))
            self._take(block, memoryview(found))
            self._held = block, found
        return self._held[1]

    def _take(self, block: int, into: memoryview) -> None:
        """Fill a buffer with a block, and test what it holds then."""
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
        # Of a file of another size they are no use: its whole digest tells.
        return kept if kept is not None and len(kept) == _SUM_BYTES * -(-self.size // BLOCK) else None

    def _taken_sums(self) -> bytes:
        whole, sums = hashlib.sha256(), []
        while data := self._file.read(BLOCK):
            # The system may give less than it is asked for.
            while len(data) < BLOCK and (more := self._file.read(BLOCK - len(data))):
                data += more
            whole.update(data)
            sums.append(hashlib.sha256(data).digest())
        found = b"".join(sums)
        if whole.hexdigest() != self._digest or len(sums) != -(-self.size // BLOCK):
            raise changed(self._path)
        remember(_KIND, self._digest, found)
        return found


def changed(path: Path) -> CheckpointError:
    """The refusal of a file that is not the one its model was described with."""
    # Where not even its times tell, as on some network drives, it is described by what is in it next time.
    if (state := FileState.at(path)) is not None:
        state.forget_digest()
    return CheckpointError(
        f"{path}: has changed since its model was described, so nothing is computed with it; leave it as it "
        "is now, restart the service and its workers (or this command), then submit again"
    )
