"""Digests of weight files, computed once: gigabytes are not read again while a file stays as it is.

A digest is remembered by the file's path, size, inode and times of change, in the user's cache directory
(`$XDG_CACHE_HOME/covpool`, or `~/.cache/covpool`). A cache that cannot be read or written only costs time.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from covpool.store.keys import is_digest, sha256


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    memory = _memory(path)
    with suppress(OSError, ValueError, TypeError):
        found = json.loads(memory.read_text())
        if is_digest(found):
            return str(found)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(memory, digest)
    return digest


def _memory(path: Path) -> Path:
    """Where the digest of a file in its present state is remembered."""
    status = path.stat()
    identity = [str(path.resolve()), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "covpool" / "digests" / sha256(json.dumps(identity))


def _remember(memory: Path, digest: str) -> None:
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: another process reads the whole digest or none.
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
            json.dump(digest, file)
        Path(file.name).replace(memory)
