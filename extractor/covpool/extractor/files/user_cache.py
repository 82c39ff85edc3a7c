"""User cache: small files that only save time, in `$XDG_CACHE_HOME/covpool` or `~/.cache/covpool`.

Each is written aside, synced and renamed, and begins with the checksum of the rest: a reader gets all of what
was written, or nothing. A cache that cannot be read or written only costs time.
"""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_CHECKSUM = hashlib.sha256
_CHECKSUM_BYTES = 32
#: Seconds after which a file written aside is taken for one of a process that was killed.
_ABANDONED_S = 3600
_ASIDE = ".part"


def recall(kind: str, name: str) -> bytes | None:
    """What was remembered under this name; None where there is nothing, or not all of it."""
    try:
        found = (_folder(kind) / name).read_bytes()
    except (OSError, RuntimeError):
        return None
    body = found[_CHECKSUM_BYTES:]
    return body if _CHECKSUM(body).digest() == found[:_CHECKSUM_BYTES] else None


def remember(kind: str, name: str, body: bytes) -> bool:
    """Keep a body under this name, in place of another; returns whether it could be kept."""
    try:
        folder = _folder(kind)
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        handle, aside = tempfile.mkstemp(_ASIDE, dir=folder)
    except (OSError, RuntimeError):
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_CHECKSUM(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(folder / name)
    except OSError:
        with suppress(OSError):
            Path(aside).unlink()
        return False
    return True


def _folder(kind: str) -> Path:
    """Where files of a kind lie; a RuntimeError where the user has no home."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "covpool" / kind


def _sweep(folder: Path) -> None:
    """Remove what killed processes left."""
    old = time.time() - _ABANDONED_S
    for path in folder.glob(f"*{_ASIDE}"):
        with suppress(OSError):
            if path.stat().st_mtime < old:
                path.unlink()
