"""Locations: what a location string says, which arrays it opens, and which database is the catalog."""

from collections.abc import Mapping
from pathlib import Path

from zarr.abc.store import Store as ZarrStorage
from zarr.storage import LocalStore, MemoryStore

from covpool.store.errors import LocationError
from covpool.store.storage.buckets import open_bucket

CATALOG_FILE = "catalog.sqlite"
MEMORY = "memory://"
_BUCKET = "s3://"


def open_storage(
    location: str | Path, options: Mapping[str, str] | None = None, *, read_only: bool = False
) -> ZarrStorage:
    """The storage that a directory, memory:// or s3://bucket/prefix names; a directory is made when missing.

    With `read_only` nothing is made, and nothing can be written through it.

    Raises:
        LocationError: the location is of no supported kind, is a file, or cannot be created or reached.
    """
    text = str(location)
    if text.startswith(_BUCKET):
        return open_bucket(text, options or {}, read_only=read_only)
    if options:
        raise LocationError(f"{text}: takes no options; they are for s3://bucket/prefix")
    if text == MEMORY:
        return MemoryStore()
    directory = _directory(location)
    if read_only:
        return LocalStore(directory, read_only=True)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocationError(
            f"{directory}: cannot hold a store ({error.strerror}); give a writable directory"
        ) from error
    return LocalStore(directory)


def in_bucket(location: str | Path, catalog: str | None) -> bool:
    """Whether a store lies in object storage and no database is named for its catalog."""
    return catalog is None and str(location).startswith(_BUCKET)


def catalog_url(location: str | Path, catalog: str | None = None) -> str:
    """The database URL of a store's catalog: the one given, or SQLite next to the arrays.

    Raises:
        LocationError: the location is of no supported kind, or has no place for a database.
    """
    if catalog is not None:
        return catalog
    text = str(location)
    if text.startswith(_BUCKET):
        raise LocationError(
            f"{text}: object storage cannot hold a catalog that is written to; name a database, for example "
            "catalog='postgresql://user:password@host/name' for several hosts, or catalog='sqlite:////path/"
            "catalog.sqlite' for one"
        )
    return "sqlite://" if text == MEMORY else f"sqlite:///{_directory(location) / CATALOG_FILE}"


def _directory(location: str | Path) -> Path:
    if "://" in str(location):
        raise LocationError(
            f"{location}: not a kind of store; give a directory or memory:// or s3://bucket/prefix"
        )
    return Path(location).expanduser().resolve()
