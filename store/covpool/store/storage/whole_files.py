"""Whole files: written under a temporary name and renamed in one step, with the permissions of the umask.

Other users must be able to read them; temporary files of the standard library and of safetensors are
readable by their owner only.

Durability "process" survives the end of every process (chunks are replaced whole, the flip to ready comes
last). "power-loss" survives that of the machine too: chunks and the folders that name them are flushed to the
disk before the flip, and the flip before `put` returns. The price is a few disk flushes per `put`.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, get_args
from uuid import uuid4

from covpool.store.errors import LocationError

Durability = Literal["process", "power-loss"]
DURABILITIES: tuple[Durability, ...] = get_args(Durability)

#: Suffix of an unfinished file; zarr uses the same.
PARTIAL = ".partial"

#: Errors of file systems without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def write_whole(path: str | Path, *parts: bytes | memoryview) -> None:
    """Replace the file by the parts in order; other processes read the old file or the new one.

    Raises:
        OSError: the disk is full, or the directory is missing or not writable; the old file is as it was.
    """
    with _aside(path, parts) as partial:
        try:
            os.replace(partial, path)
        except FileNotFoundError:
            # The file server renamed it, and its answer was lost.
            if not (os.path.exists(path) and _holds(path, parts)):
                raise


def write_streamed(path: str | Path, parts: Iterable[bytes]) -> None:
    """As `write_whole`, for parts from an iterator; if the iterator fails, nothing is written.

    Raises:
        OSError: as for `write_whole`.
    """
    with _aside(path, parts) as partial:
        os.replace(partial, path)


def create_whole(path: str | Path, *parts: bytes | memoryview) -> bool:
    """Create a file from the parts; an existing file stays. Of concurrent calls, one creates it.

    Returns:
        Whether the file holds the parts now.

    Raises:
        OSError: as for `write_whole`.
    """
    with _aside(path, parts) as partial:
        try:
            # A hard link never replaces an existing file; a rename would.
            os.link(partial, path)
        except FileExistsError:
            return _holds(path, parts)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.exists(path):
                return _holds(path, parts)
            os.replace(partial, path)
    return True


@contextmanager
def _aside(path: str | Path, parts: Iterable[bytes | memoryview]) -> Iterator[str]:
    """The parts in a temporary file next to `path`, which is deleted unless it was renamed."""
    partial = f"{path}.{uuid4().hex}{PARTIAL}"
    try:
        with open(partial, "wb", buffering=0) as file:
            for part in parts:
                left = memoryview(part)
                # A disk that fills up accepts only a part.
                while left:
                    left = left[file.write(left) :]
        yield partial
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _holds(path: str | Path, parts: tuple[bytes | memoryview, ...]) -> bool:
    with open(path, "rb") as file:
        return file.read() == b"".join(parts)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `target` at the end.

    Raises:
        LocationError: the file exists.
    """
    if target.exists():
        raise LocationError(f"{target}: is there already; remove it or name another")
    partial = target.with_name(f"{uuid4().hex}{PARTIAL}")
    try:
        yield partial
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def fsync(root: Path, paths: Iterable[str], *, folders_exist: bool = False) -> None:
    """Flush files below `root` to the disk, and then the folders that contain them.

    A file's name is an entry of its folder, which has to be flushed too; new folders are entries of their
    parents, up to the parent of `root`. If `folders_exist`, only those of the files are flushed.
    """
    listed = [PurePosixPath(path) for path in paths]
    for path in listed:
        _flush(root / path)
    folders = {folder for path in listed for folder in ([path.parent] if folders_exist else path.parents)}
    # The deepest first, so that no entry is flushed before its target.
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        _flush(root / folder)
    if not folders_exist:
        _flush(root.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
