"""Whole files: written beside their name and put there in one step, readable as the umask says.

Files that a store, a fit or an export makes are there to be shared; a temporary file of the standard library
or of safetensors is its owner's alone.
"""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

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
