"""Whole files: written beside their name and put there in one step, readable as the umask says.

Files that a store, a fit or an export makes are there to be shared; a temporary file of the standard library
or of safetensors is its owner's alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from covpool.store.errors import LocationError

#: What an unfinished file ends in; zarr gives its own the same.
PARTIAL = ".partial"


def write_whole(path: str | Path, *parts: bytes | memoryview) -> None:
    """Replace the file by the parts, one after the other; another reads the old one or the new one.

    Raises:
        OSError: the disk is full, or the directory is missing or not writable; the old file is as it was.
    """
    partial = f"{path}.{uuid4().hex}{PARTIAL}"
    try:
        with open(partial, "wb", buffering=0) as file:
            for part in parts:
                left = memoryview(part)
                # A disk that fills up takes what it can, and refuses the rest.
                while left:
                    left = left[file.write(left) :]
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Where a library writes a file that is to appear as `target` when the body has run.

    Raises:
        LocationError: the file is there already.
    """
    if target.exists():
        raise LocationError(f"{target}: is there already; remove it or name another")
    partial = target.with_name(f"{uuid4().hex}{PARTIAL}")
    try:
        yield partial
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
