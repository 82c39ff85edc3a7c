"""Store: moments by key, in Zarr arrays with a catalog."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from covpool.store.catalog.entries import list_entries
from covpool.store.maintenance.verify import Problem, verify
from covpool.store.opened import OpenedStore
from covpool.store.threads import in_order
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments
from covpool.store.writer import put_all

if TYPE_CHECKING:
    import pyarrow as pa


class Store(OpenedStore):
    """A cache of moments: what is put under a key reads back bit for bit, or raises.

    Any number of processes may read and write the same directory at once.
    """

    def put(
        self,
        key: MomentsKey,
        moments: Moments,
        *,
        replace: bool = False,
        on_commit: Callable[[Connection], None] | None = None,
    ) -> None:
        """Cache moments under a key; what is stored there intact stays, whatever its bits.

        Where the stored moments are damaged, or others are to replace them, the new ones get a new row,
        which replaces the old one in a single step: a reader sees the old or the new moments.

        Args:
            key: the identity of the moments.
            moments: float32 or float64; stored in that dtype. Of the second moment the upper triangle is
                stored.
            replace: replace moments that are stored under the key, if their bits differ.
            on_commit: runs in the transaction that makes the row readable (the service ends its job there).

        Raises:
            InvalidMomentsError: values are not finite or the matrix is not symmetric, or the key is
                stored in another dtype.
            CapacityError: the namespace is full.
            StoreError: the storage refused; nothing became readable.
            CatalogError: the catalog's database refused, or was lost on the way; nothing became readable.
        """
        self.put_many([(key, moments)], replace=replace, on_commit=on_commit)

    def put_many(
        self,
        items: Iterable[tuple[MomentsKey, Moments]],
        *,
        replace: bool = False,
        on_commit: Callable[[Connection], None] | None = None,
    ) -> None:
        """Cache moments under several keys, which become readable together.

        All are in memory at once and share two transactions, which halves the cost for small matrices. If a
        key occurs twice, the last moments count. Otherwise as `put`, with the same errors: if one is refused,
        none becomes readable.
        """
        put_all(self, items, on_commit, replace=replace)

    def get_many(self, keys: Iterable[MomentsKey | str], *, threads: int = 2) -> Iterator[Moments]:
        """Moments of many keys, in their order, read ahead on several threads.

        At most `2 * threads` matrices are in memory in addition to the current one.

        Raises:
            KeyNotFoundError, CorruptEntryError: as `get`, when the turn of that key comes.
            ValueError: `threads` is below 1.
        """
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        return in_order(self.get, keys, threads=threads, ahead=2 * threads)

    def chunk(self, key: MomentsKey | str) -> bytes:
        """The encoded chunk of a key's second moment, in the codec of its namespace, verified.

        These are the bytes on disk. If a compacted copy has another codec, the chunk is encoded again and
        stays the same.

        Raises:
            KeyNotFoundError: there is no ready entry.
            CorruptEntryError: the chunk is missing, damaged, or another key's.
        """
        return self._stored(key, lambda arrays, entry: arrays.read_chunk(entry.row, entry.key))

    def __contains__(self, key: MomentsKey | str) -> bool:
        return self.catalog.find(str(key)) is not None

    def __len__(self) -> int:
        return self.catalog.count()

    def keys(self, *, sequence: str | None = None) -> Iterator[MomentsKey]:
        """Every ready key, in the order of their digests.

        Args:
            sequence: digest of bases; then only the keys of that sequence, which differ in their recipes
                (layer, selection, …).
        """
        return (entry.moments_key for entry in self.catalog.entries(sequence=sequence))

    def table(
        self,
        *,
        model: str | None = None,
        layer: str | None = None,
        selection: str | None = None,
        assembly: str | None = None,
        state: str | None = "ready",
        since: datetime | None = None,
    ) -> "pa.Table":
        """What is stored, one entry a row, as an Arrow table in the order of the keys.

        Columns: key, sequence (digests), state, model, layer, selection, dtype, codec, recipe (canonical
        JSON), namespace, width (features), length (bp), count (tokens), error (relative Frobenius), created
        (UTC).
        `pyarrow.parquet.write_table(store.table(), path)` makes a Parquet file of it.

        Args:
            model, layer, selection: of the recipe.
            assembly: only entries with a name in this genome assembly.
            state: "ready" or "reserved"; None for all.
            since: only entries that became ready then or later; a time without a zone is UTC.

        Raises:
            CatalogError: the database cannot be reached, refused, or holds values that are none of a catalog.
        """
        recipe = {"model": model, "layer": layer, "selection": selection}
        return list_entries(self.database, assembly=assembly, since=since, state=state, **recipe)

    def verify(self) -> list[Problem]:
        """Read every ready entry back, and compare the catalog with the arrays; see `maintenance.verify`."""
        return verify(self)
