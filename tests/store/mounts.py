"""The same directory once more, on a file system that can only be read."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only_view(folder: Path, view: Path) -> Iterator[Path]:
    """`view` shows what is in `folder`, and refuses every change; skips where nothing can be mounted."""
    view.mkdir()
    made = subprocess.run(["mount", "--bind", folder, view], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("may not mount a file system here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        yield view
    finally:
        subprocess.run(["umount", "--lazy", view], check=True)
