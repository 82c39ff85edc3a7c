"""New files: written beside their place and renamed, so that no name is ever that of half a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from covpool.store.errors import LocationError


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Where to write a file that is to appear as `target` when the body has run; the umask says who reads it.

    Raises:
        LocationError: the file is there already.
    """
    if target.exists():
        raise LocationError(f"{target}: is there already; remove it or name another")
    partial = target.with_name(f"{uuid4().hex}.partial")
    try:
        yield partial
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
