"""Durability: which failures stored moments survive.

"process" survives the end of every process (chunks are replaced whole, the flip to ready comes last).
"power-loss" survives that of the machine too: chunks and the folders that name them are flushed to the disk
before the flip, and the flip before `put` returns. The price is a few disk flushes per `put`.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

Durability = Literal["process", "power-loss"]
DURABILITIES: tuple[Durability, ...] = get_args(Durability)


def check_durability(durability: str) -> None:
    """Raise `ValueError` for an unknown durability."""
    if durability not in DURABILITIES:
        raise ValueError(f"durability {durability!r} is unknown; choose {' or '.join(DURABILITIES)}")


def fsync(root: Path, paths: Iterable[str], *, folders_exist: bool = False) -> None:
    """Flush files below `root` to the disk, and then the folders that contain them.

    A file's name is an entry of its folder, which has to be flushed too; new folders are entries of their
    parents, up to the parent of `root`. If `folders_exist`,
    only those of the files are flushed.
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
