"""Joined files: several files read as one."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from covpool.extractor.files.verified_files import VerifiedFile


class JoinedFiles(io.RawIOBase):
    """Files read one after another; closed together."""

    def __init__(self, files: Sequence[VerifiedFile]) -> None:
        self._files = files
        self._starts = [0, *accumulate(file.size for file in files)]
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the joined file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the joined file."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position on, across file boundaries."""
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._at < self._starts[-1]:
            index = bisect_right(self._starts, self._at) - 1
            self._files[index].seek(self._at - self._starts[index])
            taken = self._files[index].readinto(view[filled:])
            filled += taken
            self._at += taken
        return filled

    def close(self) -> None:
        """Close every file."""
        for file in self._files:
            file.close()
        super().close()
