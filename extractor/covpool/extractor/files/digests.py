"""Digests of large files, computed once: gigabytes are not read again while a file is unchanged.

A digest is kept in the user's cache by the file's path, size, inode and times of change. It identifies a
file, but does not prove its content at a later read: see `verified_files`.
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
#: No digest is kept of a file that changed less than this many nanoseconds before it was read: within a
#: clock tick it may change again with the same times.
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class FileState:
    """Values that change if a file changes.

    Attributes:
        path, size, inode, modified_ns, changed_ns: of the file.
        seen_ns: time at which they were read.
    """

    path: str
    size: int
    inode: int
    modified_ns: int
    changed_ns: int
    seen_ns: int = field(compare=False)

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "FileState":
        """The state from a path and its status."""
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(str(path.resolve()), status.st_size, status.st_ino, *times, time.time_ns())

    @classmethod
    def at(cls, path: Path) -> "FileState | None":
        """The current state of the file at a path; None if there is none."""
        try:
            return cls.of(path, path.stat())
        except OSError:
            return None

    @property
    def is_settled(self) -> bool:
        """Whether every later change gives the file another state."""
        return self.changed_ns + SETTLED_NS < self.seen_ns

    @property
    def _name(self) -> str:
        identity = [self.path, self.size, self.inode, self.modified_ns, self.changed_ns]
        return sha256(json.dumps(identity))

    def recall_digest(self) -> str | None:
        """The digest of the file in this state; None if it is not kept."""
        digest = (recall(_KIND, self._name) or b"").decode("ascii", "replace")
        return digest if is_digest(digest) else None

    def remember_digest(self, digest: str) -> None:
        """Keep the digest of the file in this state; the state was taken before the file was read."""
        if self.is_settled:
            remember(_KIND, self._name, digest.encode())

    def forget_digest(self) -> None:
        """Drop the kept digest: it is not the digest of the file."""
        remember(_KIND, self._name, b"")


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    path = Path(path)
    with path.open("rb") as file:
        state = FileState.of(path, os.fstat(file.fileno()))
        if (remembered := state.recall_digest()) is not None:
            return remembered
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        # No digest is kept of a file that is being written.
        if FileState.of(path, os.fstat(file.fileno())) == state:
            state.remember_digest(digest)
    return digest
