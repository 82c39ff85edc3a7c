"""OpenedStore: the catalog and the arrays of one store, and reading by key.

Maintenance works on it; `Store` adds the rest of the public interface.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Self, TypeVar

from zarr.abc.store import Store as ZarrStorage

from covpool.store.arrays.compacted_arrays import CompactedArrays
from covpool.store.arrays.layout import stored_namespaces
from covpool.store.arrays.partial_files import Partials
from covpool.store.arrays.schema import Record
from covpool.store.arrays.stored_files import StoredFiles
from covpool.store.arrays.zarr_arrays import DAMAGED_METADATA, NamespaceArrays, RowArrays, open_root
from covpool.store.catalog.catalog import Catalog
from covpool.store.catalog.copies import Copies
from covpool.store.catalog.entries import Entry, Place
from covpool.store.catalog.ledger import Ledger
from covpool.store.catalog.names import Names
from covpool.store.catalog.rooms import kept_catalog, readable
from covpool.store.codecs import codec_id
from covpool.store.database.database import Database
from covpool.store.errors import (
    CatalogError,
    CorruptEntryError,
    KeyNotFoundError,
    LocationError,
    OutdatedCatalogError,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from covpool.store.existence import (
    READ_ONLY_REMEDY,
    require_arrays,
    require_catalog,
    require_place,
    require_writable_place,
)
from covpool.store.standing import declare_outdated, opened_for_writing, outdated
from covpool.store.storage.locations import catalog_url, in_bucket, open_storage
from covpool.store.storage.objects import Objects
from covpool.store.storage.whole_files import DURABILITIES, Durability
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

T = TypeVar("T")


class OpenedStore:
    """Catalog and arrays, opened and checked against each other; see `Store.open`."""

    def __init__(
        self,
        storage: ZarrStorage,
        catalog: Catalog,
        codec: str = "lossless",
        durability: Durability = "process",
        *,
        outdated: str | None = None,
        where: str = "the store",
    ) -> None:
        self.catalog = catalog
        #: Why catalog and arrays are not of the same moment; None if they seem to be.
        self.outdated = outdated
        self.where = where
        self.names = Names(catalog.database)
        #: The catalog as maintenance sees it.
        self.ledger, self.copies = Ledger(catalog.database), Copies(catalog.database)
        #: The files of the Zarr hierarchy, for remote readers.
        self.files = StoredFiles(storage)
        self.codec = codec_id(codec)
        self.durability = durability
        self.storage = storage
        self.objects = Objects(storage)
        #: Partial sums of unfinished sequences.
        self.partials = Partials(self.objects)
        self._arrays: dict[tuple[str, int], RowArrays] = {}
        self._lock = Lock()

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        catalog: str | None = None,
        codec: str = "lossless",
        options: Mapping[str, str] | None = None,
        durability: Durability = "process",
        lost_catalog: bool = False,
        create: bool = True,
        read_only: bool = False,
    ) -> Self:
        """Open a store, or create one in an empty or new directory or prefix.

        Args:
            location: a directory, "s3://bucket/prefix", or "memory://" for one in the memory of this process.
            catalog: database URL (sqlite:///path, postgresql://user:password@host/name); by default SQLite
                inside the directory. Object storage needs one.
            codec: how new keys are stored: "lossless", "cold" (exact, mostly smaller, slower to write), or
                "bounded:1e-4" (lossy, with that relative Frobenius error at most; see `Entry.error`).
                Reading needs none, and a key that has a row keeps the codec of that row.
            options: of object storage (endpoint, region, access_key_id, secret_access_key, …); what is not
                named comes from the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, …).
            durability: "process", or "power-loss" to flush a directory's chunks and catalog to the disk
                before `put` returns (see `storage.whole_files`); object storage and database servers
                always do so.
            lost_catalog: accept arrays without a catalog, so that `maintenance.rebuild` can make it again.
            create: False to require an existing store, so that a mistyped path makes none.
            read_only: for reading only; implies `create=False`. Nothing is written, locked or made: a
                read-only mount or bucket is enough, and a database role that may only select. Methods that
                write raise `ReadOnlyError`. A SQLite catalog of an earlier covpool can be read; if others
                write to the catalog, each look-up sees what is committed.

        Raises:
            ReadOnlyError: the directory is not writable, and `read_only` is False.
            StoreNotFoundError: there is no store, and `create` is False.
            LocationError: the location is of no supported kind, is a file, or cannot be created.
            CatalogError: the database named by `catalog` cannot be reached, or refused.
            StorageError: the object storage cannot be reached, or refused.
            FormatVersionError: it was written in another format, or its catalog is of another revision.
            ValueError: there is no such codec or durability.
        """
        codec_id(codec)
        if durability not in DURABILITIES:
            raise ValueError(f"durability {durability!r} is unknown; choose {' or '.join(DURABILITIES)}")
        if read_only or not create:
            require_place(location, catalog, lost_catalog=lost_catalog)
        if not read_only:
            require_writable_place(location)
            catalog_url(location, catalog)
        storage = open_storage(location, options, read_only=read_only)
        kept = kept_catalog(storage, str(location)) if read_only and in_bucket(location, catalog) else None
        database = kept or Database.open(catalog_url(location, catalog), durability, read_only=read_only)
        try:
            if read_only or not create:
                require_arrays(storage, location)
                if not lost_catalog:
                    require_catalog(database, location)
            if read_only:
                database = readable(database)
            tables = Catalog(database, str(location))
            open_root(storage, str(location))
            older = outdated(database, Objects(storage), str(location))
            if not lost_catalog and _knows_none(database, storage):
                detail = f" ({older})" if older else ""
                raise LocationError(
                    f"{location}: has arrays, and a catalog that knows none of them{detail}; give the right "
                    "--catalog, or make it again with: covpool store rebuild"
                )
            if not (lost_catalog or older or read_only):
                try:
                    opened_for_writing(database, Objects(storage), str(location))
                except (CatalogError, StorageError) as error:
                    raise type(error)(f"{error}; {READ_ONLY_REMEDY}") from error
        except StoreError as error:
            database.close()
            # Without a `catalog` argument the user knows only the location.
            if isinstance(error, CatalogError) and catalog is None:
                raise LocationError(f"{location}: the catalog cannot be opened; {error}") from error
            raise
        except (*DAMAGED_METADATA, OSError) as error:
            database.close()
            raise LocationError(
                f"{location}: the arrays cannot be opened ({_first_line(error)}); "
                "check the permissions, the free space, and that nothing else wrote there"
            ) from error
        return cls(storage, tables, codec, durability, outdated=older, where=str(location))

    @property
    def database(self) -> Database:
        """The catalog's database, which other rooms share."""
        return self.catalog.database

    @property
    def read_only(self) -> bool:
        """Whether it was opened for reading only."""
        return self.database.read_only

    def require_writable(self) -> None:
        """Refuse to write into a store that is open for reading only, or through an outdated catalog.

        Raises:
            ReadOnlyError, OutdatedCatalogError: it is; the message says by what it is known.
        """
        self.require_open_for_writing()
        self.require_current()

    def require_open_for_writing(self) -> None:
        """Refuse to write into a store that is open for reading only.

        Raises:
            ReadOnlyError: it is.
        """
        if self.read_only:
            raise ReadOnlyError(
                f"{self.where}: is open for reading only; nothing was changed. Open it for writing where "
                "that is allowed"
            )

    def require_current(self) -> None:
        """Refuse to go on if catalog and arrays are not of the same moment.

        Raises:
            OutdatedCatalogError: it is; the message says by what it is known.
        """
        if self.outdated is not None:
            # Another process may have rebuilt it in the meantime.
            self.outdated = outdated(self.database, self.objects, self.where)
        if self.outdated is not None:
            raise OutdatedCatalogError(
                f"{self.where}: catalog and arrays are not of the same moment ({self.outdated}), as after "
                "one of them was restored; the store is read-only until: covpool store rebuild"
            )

    def mark_outdated(self, error: OutdatedCatalogError) -> None:
        """Stop writing, here and in every process that opens the store later."""
        self.outdated = str(error)
        declare_outdated(self.objects, self.where)

    def rebuilt(self) -> None:
        """Allow writing again after the catalog was rebuilt from the arrays."""
        opened_for_writing(self.database, self.objects, self.where)
        self.outdated = None

    def get(self, key: MomentsKey | str) -> Moments:
        """The moments of a key, or of its digest.

        Raises:
            KeyNotFoundError: there is no ready entry.
            CorruptEntryError: there is one, and it does not read back intact.
        """
        return self._stored(key, lambda arrays, entry: arrays.read(entry.row, entry.key))

    def entry(self, key: MomentsKey | str) -> Entry:
        """The catalog's ready entry of a key.

        Raises:
            KeyNotFoundError: there is none.
        """
        entry = self.catalog.find(str(key))
        if entry is None:
            raise KeyNotFoundError(f"{key}: not in the store; extract it first")
        return entry

    def close(self) -> None:
        """Release the database connections."""
        self.database.close()
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def record_at(self, place: Place) -> Record | None:
        """The record of the row at a place; None if the row is missing or damaged.

        Raises:
            StorageError: the storage cannot be reached, so that the state of the row is unknown.
        """
        try:
            return self.arrays_of(place).whole(place.row)
        except (CorruptEntryError, FileNotFoundError):
            return None

    def _stored(self, key: MomentsKey | str, take: Callable[[RowArrays, Entry], T]) -> T:
        entry = self.entry(key)
        while True:
            try:
                return take(self.arrays_of(entry.place), entry)
            except CorruptEntryError:
                # The row may have been replaced and deleted since the look-up: read the new one.
                current = self.catalog.find(entry.key)
                if current is None or current.place == entry.place:
                    raise
                entry = current

    def arrays_of(self, place: Place) -> RowArrays:
        """The arrays of a place.

        Raises:
            CorruptEntryError: their metadata are damaged or missing.
        """
        which = (place.namespace.id, place.generation)
        with self._lock:
            if which not in self._arrays:
                try:
                    self._arrays[which] = (
                        CompactedArrays(self.storage, place.namespace, place.generation)
                        if place.generation
                        else NamespaceArrays(self.storage, place.namespace)
                    )
                except StoreError:
                    raise
                except (*DAMAGED_METADATA, FileNotFoundError) as error:
                    raise CorruptEntryError(
                        f"namespace {place.namespace.id}: array metadata is damaged ({_first_line(error)}); "
                        "its zarr.json files are written anew by: covpool store verify --repair"
                    ) from error
                except OSError as error:
                    raise StorageError(
                        f"namespace {place.namespace.id}: its arrays cannot be opened "
                        f"({_first_line(error)}); check disk, permissions and limits, and try again "
                        "(repeating is harmless)"
                    ) from error
            return self._arrays[which]


def _knows_none(database: Database, storage: ZarrStorage) -> bool:
    """Whether there are arrays, and the catalog has no namespace."""
    ledger = Ledger(database)
    # Checked again at the end: another process may be making the first namespace.
    return not ledger.namespaces() and bool(stored_namespaces(storage)) and not ledger.namespaces()


def _first_line(error: Exception) -> str:
    """The first line of an error message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
