"""OpenedStore: the catalog and the arrays of one store, and what they hold under a key.

What maintenance works on; `Store` adds what users do with it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from zarr.abc.store import Store as ZarrStorage

from covpool.store.arrays.compacted_arrays import CompactedArrays
from covpool.store.arrays.layout import stored_namespaces
from covpool.store.arrays.partial_files import Partials
from covpool.store.arrays.schema import Record
from covpool.store.arrays.stored_files import StoredFiles
from covpool.store.arrays.zarr_arrays import DAMAGED_METADATA, NamespaceArrays, RowArrays, open_root
from covpool.store.catalog.catalog import Catalog
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
from covpool.store.storage.durability import Durability, check_durability
from covpool.store.storage.locations import catalog_url, in_bucket, open_storage
from covpool.store.storage.objects import Objects
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
        #: Why catalog and arrays are known not to be of the same moment; None where they are.
        self.outdated = outdated
        self.where = where
        self.names = Names(catalog.database)
        #: The Zarr hierarchy's files as they lie there, for readers elsewhere.
        self.files = StoredFiles(storage)
        self.codec = codec_id(codec)
        self.durability = durability
        self.storage = storage
        self.objects = Objects(storage)
        #: What is known of sequences that are not finished.
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
            location: a directory, "s3://bucket/prefix", or "memory://" for one that lives in this process.
            catalog: database URL (sqlite:///path, postgresql://user:password@host/name); by default SQLite
                inside the directory. Object storage needs one.
            codec: how new keys are stored: "lossless", "cold" (exact, mostly smaller, slower to write), or
                "bounded:1e-4" (lossy, with that relative Frobenius error at most; see `Entry.error`).
                Reading needs none, and a key that has a row keeps the codec of that row.
            options: of object storage (endpoint, region, access_key_id, secret_access_key, …); what is not
                named comes from the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, …).
            durability: "process", or "power-loss" to force a directory's chunks and catalog to the disk
                before `put` returns (see `storage.durability`); object storage and database servers
                see to that themselves.
            lost_catalog: take arrays without a catalog, for `maintenance.rebuild` to make it again.
            create: False where a store must be there already: nothing is made of a mistyped path.
            read_only: for reading only; implies `create=False`. Nothing is written, locked or made, so that
                a read-only mount or bucket will do, and a server whose role may only select. Whatever would
                write raises `ReadOnlyError`. A SQLite catalog of an earlier covpool is read as it is; of one
                that is being written to elsewhere each look-up sees what is committed.

        Raises:
            ReadOnlyError: the directory may only be read, and is to be opened for writing.
            StoreNotFoundError: there is no store, and none is to be created.
            LocationError: the location is of no supported kind, is a file, or cannot be created.
            CatalogError: the database named by `catalog` cannot be reached, or refused.
            StorageError: the object storage cannot be reached, or refused.
            FormatVersionError: it was written in another format, or its catalog is of another revision.
            ValueError: there is no such codec or durability.
        """
        codec_id(codec)
        check_durability(durability)
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
            older = outdated(database, storage, str(location))
            if not lost_catalog and _knows_none(database, storage):
                detail = f" ({older})" if older else ""
                raise LocationError(
                    f"{location}: has arrays, and a catalog that knows none of them{detail}; give the right "
                    "--catalog, or make it again with: covpool store rebuild"
                )
            if not (lost_catalog or older or read_only):
                try:
                    opened_for_writing(database, storage, str(location))
                except (CatalogError, StorageError) as error:
                    raise type(error)(f"{error}; {READ_ONLY_REMEDY}") from error
        except StoreError as error:
            database.close()
            # Of a database that nobody named the reader knows only the location.
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
        """The catalog's, which other rooms share."""
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
        """Refuse what cannot be done where catalog and arrays are not of the same moment.

        Raises:
            OutdatedCatalogError: it is; the message says by what it is known.
        """
        if self.outdated is not None:
            # Somebody may have rebuilt it since.
            self.outdated = outdated(self.database, self.storage, self.where)
        if self.outdated is not None:
            raise OutdatedCatalogError(
                f"{self.where}: catalog and arrays are not of the same moment ({self.outdated}), as after "
                "one of them was restored; the store is read-only until: covpool store rebuild"
            )

    def found_outdated(self, error: OutdatedCatalogError) -> None:
        """Stop writing, here and wherever the store is opened next."""
        self.outdated = str(error)
        declare_outdated(self.storage, self.where)

    def rebuilt(self) -> None:
        """Write again: the catalog has been brought up to the arrays."""
        opened_for_writing(self.database, self.storage, self.where)
        self.outdated = None

    def get(self, key: MomentsKey | str) -> Moments:
        """The moments of a key, given whole or as its digest.

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def record_at(self, place: Place) -> Record | None:
        """What the row at a place says of itself; None where the row is missing or not whole.

        Raises:
            StorageError: the storage cannot be reached, which tells nothing of the row.
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
                # Replaced since the catalog was asked, and the old row swept: the new one is read.
                current = self.catalog.find(entry.key)
                if current is None or current.place == entry.place:
                    raise
                entry = current

    def arrays_of(self, place: Place) -> RowArrays:
        """The arrays that a place lies in.

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
    """Whether there are arrays, and the catalog has not heard of any."""
    ledger = Ledger(database)
    # Asked again at last: another process may just be making the first.
    return not ledger.namespaces() and bool(stored_namespaces(storage)) and not ledger.namespaces()


def _first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
