"""Digests of large files, computed once: gigabytes are not read again while a file stays as it is.

A digest is remembered in the user's cache by the file's path, size, inode and times of change. That tells
what to call a file, and not what is in it when it is read: see `verified_files`.
"""

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from covpool.extractor.files.user_cache import recall, remember
from covpool.store.values.keys import is_digest, sha256

_KIND = "digests"
#: Of a file that changed less than so many nanoseconds before it was read no digest is remembered: it may
#: change again without its times doing so, which tick.
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class FileState:
    """What tells that a file has changed.

    Attributes:
        path, size, inode, modified_ns, changed_ns: of the file.
        seen_ns: when they were seen.
    """

    path: str
    size: int
    inode: int
    modified_ns: int
    changed_ns: int
    seen_ns: int = field(compare=False)

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "FileState":
        """The state that was seen."""
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(str(path.resolve()), status.st_size, status.st_ino, *times, time.time_ns())

    @classmethod
    def at(cls, path: Path) -> "FileState | None":
        """The state of the file that is there now; None where there is none."""
        try:
            return cls.of(path, path.stat())
        except OSError:
            return None

    @property
    def is_settled(self) -> bool:
        """Whether every change that is made from now on shows."""
        return self.changed_ns + SETTLED_NS < self.seen_ns

    @property
    def _name(self) -> str:
        identity = [self.path, self.size, self.inode, self.modified_ns, self.changed_ns]
        return sha256(json.dumps(identity))

    def recall_digest(self) -> str | None:
        """The digest of the file in this state; None where it is not remembered."""
        found = (recall(_KIND, self._name) or b"").decode("ascii", "replace")
        return found if is_digest(found) else None

    def remember_digest(self, digest: str) -> None:
        """Remember the digest of the file in this state, which was seen before it was read."""
        if self.is_settled:
            remember(_KIND, self._name, digest.encode())

    def forget_digest(self) -> None:
        """Remember none: the one that was remembered is not that of the file."""
        remember(_KIND, self._name, b"")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        state = FileState.of(path, os.fstat(file.fileno()))
        if (known := state.recall_digest()) is not None:
            return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        # Of a file that is being written nothing is remembered.
        if FileState.of(path, os.fstat(file.fileno())) == state:
            state.remember_digest(digest)
    return digest
