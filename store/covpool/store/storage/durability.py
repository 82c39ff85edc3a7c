"""Durability: what a store has done before it says that something is stored.

"process" survives the death of every process (chunks are replaced whole, the flip to ready comes last).
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
    """Refuse what is no durability with `ValueError`."""
    if durability not in DURABILITIES:
        raise ValueError(f"durability {durability!r} is unknown; choose {' or '.join(DURABILITIES)}")


def fsync(root: Path, paths: Iterable[str], *, folders_exist: bool = False) -> None:
    """Wait until files below `root` have reached the disk, and then the folders that name them.

    A file's name is an entry of its folder, which has to be flushed by itself; folders made on the way are
    entries of theirs, up to the folder `root` lies in. If `folders_exist`,
    only those of the files are flushed.
    """
    listed = [PurePosixPath(path) for path in paths]
    for path in listed:
        _flush(root / path)
    folders = {folder for path in listed for folder in ([path.parent] if folders_exist else path.parents)}
    # The deepest first, so that a name never outlives what it names.
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
