"""User cache: small files that only save time, in `$XDG_CACHE_HOME/covpool` or `~/.cache/covpool`.

Each is written under another name, synced and renamed, and begins with the checksum of the rest: a reader
gets the complete content, or nothing. A cache that cannot be read or written only costs time.
"""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_CHECKSUM = hashlib.sha256
_CHECKSUM_BYTES = 32
#: Seconds after which a partial file is treated as left by a killed process.
_ABANDONED_S = 3600
_ASIDE = ".part"


def recall(kind: str, name: str) -> bytes | None:
    """The body kept under this name; None if there is none, or if it is incomplete."""
    try:
        content = (_folder(kind) / name).read_bytes()
    except (OSError, RuntimeError):
        return None
    body = content[_CHECKSUM_BYTES:]
    return body if _CHECKSUM(body).digest() == content[:_CHECKSUM_BYTES] else None


def remember(kind: str, name: str, body: bytes) -> bool:
    """Keep a body under this name, replacing an earlier one; returns whether it could be kept."""
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
    """The folder of files of a kind; RuntimeError if the user has no home."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "covpool" / kind


def _sweep(folder: Path) -> None:
    """Remove partial files of killed processes."""
    old = time.time() - _ABANDONED_S
    for path in folder.glob(f"*{_ASIDE}"):
        with suppress(OSError):
            if path.stat().st_mtime < old:
                path.unlink()
