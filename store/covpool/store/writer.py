"""Puts: moments are written to new rows, which become readable in one step or not at all.

Stored moments stay unchanged: other machines and other versions of libraries round differently, and a key
must not change its bits between two reads. They are replaced only if they are damaged, or on request.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from sqlalchemy.engine import Connection

from covpool.store.arrays.rows import check_row, encode_row
from covpool.store.arrays.schema import Namespace
from covpool.store.arrays.zarr_arrays import NamespaceArrays
from covpool.store.catalog.entries import Entry, Place, Written
from covpool.store.errors import CatalogError, CorruptEntryError, OutdatedCatalogError
from covpool.store.opened import OpenedStore
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

log = logging.getLogger(__name__)


def put_all(
    store: OpenedStore,
    items: Iterable[tuple[MomentsKey, Moments]],
    on_commit: Callable[[Connection], None] | None,
    *,
    replace: bool,
) -> None:
    """See `Store.put_many`."""
    by_key = {key.digest: (key, moments) for key, moments in items}
    first = next(iter(by_key), "nothing to put")
    for _, moments in by_key.values():
        moments.validate()
    store.require_writable()
    wanted = [
        (key, Namespace(key.recipe, moments.width, str(moments.dtype), store.codec))
        for key, moments in by_key.values()
    ]
    reserved: list[Place] = []
    try:
        try:
            rows = _rows(store, wanted, by_key, reserved, replace=replace)
            written = [_write(store, *by_key[key], place, old) for key, place, old in rows]
            if written:
                store.catalog.flip_ready(written, replace=replace, on_commit=on_commit)
            elif on_commit is not None:
                with store.database.writing() as connection:
                    on_commit(connection)
        except BaseException:
            # Also on an interrupt, so that no reservation remains.
            with suppress(CatalogError):
                for place in reserved:
                    store.catalog.give_up(place)
            raise
        for key in by_key:
            with suppress(OSError):
                store.partials.drop(key)
    except OutdatedCatalogError as error:
        store.mark_outdated(error)
        raise
    except CatalogError as error:
        raise CatalogError(f"{first}: nothing became readable; {error}") from error


def _rows(
    store: OpenedStore,
    wanted: list[tuple[MomentsKey, Namespace]],
    by_key: dict[str, tuple[MomentsKey, Moments]],
    reserved: list[Place],
    *,
    replace: bool,
) -> Iterator[tuple[str, Place, Place | None]]:
    """Digests to be written, each with a reserved row and the one it replaces; also listed in `reserved`."""
    slots = store.catalog.find_or_reserve(wanted)
    reserved += [slot for slot in slots if isinstance(slot, Place)]
    for (key, namespace), slot in zip(wanted, slots, strict=True):
        if isinstance(slot, Place):
            yield key.digest, slot, None
        elif not _stays(store, slot, *by_key[key.digest], replace=replace):
            reserved.append(store.catalog.reserve(key, namespace))
            yield key.digest, reserved[-1], slot.place


def _write(store: OpenedStore, key: MomentsKey, moments: Moments, place: Place, old: Place | None) -> Written:
    arrays = store.arrays_of(place)
    assert isinstance(arrays, NamespaceArrays)
    record = arrays.write(place.row, key, moments)
    if store.durability == "power-loss":
        arrays.fsync(place.row)
    return Written(key, place, record, old)


def _stays(store: OpenedStore, entry: Entry, key: MomentsKey, moments: Moments, *, replace: bool) -> bool:
    """Whether the stored moments stay: they are intact, and the same or not to be replaced."""
    if (moments.width, str(moments.dtype)) != (entry.namespace.width, entry.namespace.dtype):
        return False
    try:
        arrays = store.arrays_of(entry.place)
        stored = arrays.row(entry.row)
        if stored is None or check_row(stored).key != key.digest:
            return False
    except CorruptEntryError:
        return False
    if stored == encode_row(arrays.namespace, key, moments)[0]:
        return True
    if not replace:
        log.warning(
            "%s: is stored with other bits, which stay; another machine, number of threads or version of a "
            "library rounds otherwise (covpool extract --again replaces them)",
            key,
        )
    return not replace
