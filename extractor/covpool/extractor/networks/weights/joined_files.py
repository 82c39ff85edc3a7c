"""Joined files: several files read as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from covpool.extractor.files.verified_files import SeekableFile, VerifiedFile


class JoinedFiles(SeekableFile):
    """Files read one after another; closed together."""

    def __init__(self, files: Sequence[VerifiedFile]) -> None:
        self._files = files
        self._starts = [0, *accumulate(file.size for file in files)]
        self.size = self._starts[-1]

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position on, across file boundaries."""
        view, filled = memoryview(buffer).cast("B"), 0
        while filled < len(view) and self._at < self.size:
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
