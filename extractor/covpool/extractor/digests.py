"""Digests of large files, computed once: gigabytes are not read again while a file stays as it is.

A digest is remembered in the user's cache by the file's path, size, inode and times of change.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from covpool.extractor.user_cache import recall, remember
from covpool.store.keys import is_digest, sha256

_KIND = "digests"


@dataclass(frozen=True)
class FileState:
    """What tells that a file has changed."""

    path: str
    size: int
    inode: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> "FileState":
        """The state that was seen."""
        return cls(str(path.resolve()), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def _name(self) -> str:
        identity = [self.path, self.size, self.inode, self.modified_ns, self.changed_ns]
        return sha256(json.dumps(identity))

    def recall_digest(self) -> str | None:
        """The digest of the file in this state; None where it is not remembered."""
        found = (recall(_KIND, self._name) or b"").decode("ascii", "replace")
        return found if is_digest(found) else None

    def remember_digest(self, digest: str) -> None:
        """Remember the digest of the file in this state."""
        remember(_KIND, self._name, digest.encode())


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
