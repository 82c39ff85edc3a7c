"""Compact: copy a namespace's rows to large objects, which are then read instead of the rows.

A copy begins with its plan, written once: which row goes where. Everything after it follows from the plan
and from rows that are never rewritten, so an interrupted compaction resumes where it stopped, and two at once
write the same bytes. Rows are copied as encoded (or encoded again, for another codec), every row is read
back, the copy is sealed, and one transaction makes its rows ready. `gc` deletes the old chunks later.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from time import monotonic

from covpool.store.arrays.compacted_arrays import (
    CODEC,
    NEXT_ROW,
    SEALED,
    SHARD_ROWS,
    USED,
    CompactedArrays,
    create_compacted,
    is_marked,
    mark_copy,
)
from covpool.store.arrays.layout import PLAN, Progress, generations, no_progress
from covpool.store.arrays.rows import Row, decode_record
from covpool.store.arrays.schema import Namespace, generation_path
from covpool.store.catalog.entries import Place
from covpool.store.catalog.ledger import Move
from covpool.store.catalog.tables import BUILDING, READY, RESERVED
from covpool.store.codecs import codec_id, codec_of
from covpool.store.errors import CorruptEntryError, StoreError
from covpool.store.opened import OpenedStore
from covpool.store.storage.objects import Objects

#: Rows in one shard. A shard is assembled in memory.
SHARD_ROWS_DEFAULT = 64
SHARD_ROWS_MOST = 256
#: Seconds between two signs of life of a compaction.
ATTEND_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The contents of a copy.

    Attributes:
        begun: when it was planned, UTC.
        codec: id of the codec of its rows.
        shard_rows: rows in one shard.
        next_row: first row that may have been written after it was planned.
        sources: for each of its rows the key, the generation and the row it is copied from.
    """

    begun: datetime
    codec: str
    shard_rows: int
    next_row: int
    sources: tuple[tuple[str, int, int], ...]

    @property
    def attributes(self) -> dict[str, str | int]:
        """Of the group that the copy lies in."""
        return {CODEC: self.codec, SHARD_ROWS: self.shard_rows, NEXT_ROW: self.next_row}

    def to_json(self) -> str:
        """All fields, for `read_plan`."""
        return json.dumps(asdict(self), default=datetime.isoformat)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes:
        namespace: id of the namespace.
        generation: number of the copy.
        rows: rows read back from it.
        swapped: keys now read from it (fewer if some were put again in the meantime).
        damaged: keys whose row could not be copied; they stay in place.
    """

    namespace: str
    generation: int
    rows: int
    swapped: int
    damaged: tuple[str, ...]


def compact(
    store: OpenedStore,
    namespace: Namespace,
    *,
    codec: str | None = None,
    shard_rows: int = SHARD_ROWS_DEFAULT,
    every: bool = False,
    progress: Progress = no_progress,
) -> Compacted | None:
    """Copy the uncompacted ready rows of a namespace, or complete an unfinished copy.

    Args:
        store: the store.
        namespace: the namespace.
        codec: "cold" to encode the rows again; by default their codec stays.
        shard_rows: rows in one object, 1 to 256.
        every: also copy the rows of earlier copies.
        progress: called with the rows copied and read back, and the total.

    Returns:
        The result; None if there is nothing to copy.

    Raises:
        StoreError: the rows have a lossy codec and another one is wanted, the storage refused, or a row
            does not read back. The old rows are still read.
        ValueError: there is no such codec, or `shard_rows` is out of range.
    """
    if not 1 <= shard_rows <= SHARD_ROWS_MOST:
        raise ValueError(f"a shard has 1 to {SHARD_ROWS_MOST} rows, not {shard_rows}")
    wanted = namespace.codec if codec is None else codec_id(codec)
    if wanted != namespace.codec and (codec_of(namespace.codec).bound or codec_of(wanted).bound):
        raise StoreError(
            f"namespace {namespace.id}: {namespace.codec} or {wanted} is lossy; a copy keeps the exact "
            "bytes of lossy rows, so leave the codec as it is"
        )
    store.require_writable()
    begun = _begin(store, namespace, wanted, shard_rows, every)
    if begun is None:
        return None
    generation, plan = begun
    store.copies.attend(namespace.id, generation)
    try:
        return _complete(store, namespace, generation, plan, progress)
    except FileNotFoundError:
        # The copy was abandoned and deleted in the meantime; `attend` raises the error that says so.
        store.copies.attend(namespace.id, generation)
        raise


def _complete(
    store: OpenedStore, namespace: Namespace, generation: int, plan: Plan, progress: Progress
) -> Compacted:
    path = generation_path(namespace, generation)
    create_compacted(store.storage, namespace, generation, plan.attributes, len(plan.sources))
    copy = CompactedArrays(store.storage, namespace, generation)
    moves, damaged = [], []
    attended = monotonic()
    for done, (key, source, row) in enumerate(_copied(store, namespace, copy, plan)):
        progress(done + 1, len(plan.sources))
        if monotonic() > attended + ATTEND_S:
            store.copies.attend(namespace.id, generation)
            attended = monotonic()
        target = Place(namespace, generation, done)
        if row is None:
            damaged.append(key)
        else:
            moves.append(Move(key, source, target, decode_record(row.record, key).checksum))
    # An abandoned copy must not be marked as complete.
    store.copies.attend(namespace.id, generation)
    if not is_marked(store.storage, path, SEALED):
        mark_copy(store.storage, path, SEALED)
        store.objects.fsync([f"{path}/zarr.json"])
    swapped = store.copies.use(namespace.id, generation, moves)
    mark_copy(store.storage, path, USED)
    return Compacted(namespace.id, generation, len(moves), swapped, tuple(damaged))


def read_plan(objects: Objects, path: str) -> Plan | None:
    """The plan of the copy at `path`; None where there is none."""
    text = objects.read(f"{path}/{PLAN}")
    if text is None:
        return None
    fields = json.loads(text)
    sources = tuple((str(key), int(generation), int(row)) for key, generation, row in fields["sources"])
    return Plan(**fields | {"begun": datetime.fromisoformat(fields["begun"]), "sources": sources})


def _begin(
    store: OpenedStore, namespace: Namespace, codec: str, shard_rows: int, every: bool
) -> tuple[int, Plan] | None:
    """The copy to work on: one that was begun, else a new one; None where there is nothing to copy."""
    # Read the numbers first: if none of these copies is unfinished, the catalog refers to all of them.
    states = store.copies.states(namespace.id)
    planned = generations(store.objects, namespace.id)
    for generation in planned:
        begun = read_plan(store.objects, generation_path(namespace, generation))
        if begun is not None and states.get(generation, BUILDING) == BUILDING:
            return generation, begun
    generation = max([0, *planned, *states]) + 1
    # Rows that are being written now may become ready later than the rows copied here.
    writing = [entry.row for entry in store.ledger.entries(RESERVED, namespace=namespace.id)]
    next_row = min([store.ledger.namespaces()[namespace.id][1], *writing])
    ready = store.ledger.entries(READY, namespace=namespace.id)
    sources = [(e.key, e.place.generation, e.row) for e in ready if every or not e.place.generation]
    if not sources:
        return None
    plan = Plan(store.database.now(), codec, shard_rows, next_row, tuple(sources))
    path = generation_path(namespace, generation)
    # Of two compactions that begin at once the second follows the plan of the first. Plans are never deleted,
    # so that a number always refers to one copy.
    store.objects.write_new(f"{path}/{PLAN}", plan.to_json().encode())
    written = read_plan(store.objects, path)
    return None if written is None else (generation, written)


def _copied(
    store: OpenedStore, namespace: Namespace, copy: CompactedArrays, plan: Plan
) -> Iterator[tuple[str, Place, Row | None]]:
    """Each planned row as read back from the copy; None if its source is damaged or missing."""
    for index, start in enumerate(range(0, len(plan.sources), plan.shard_rows)):
        planned = plan.sources[start : start + plan.shard_rows]
        if not copy.has_shard(index):
            rows = [_source(store, namespace, plan.codec, *source) for source in planned]
            store.objects.fsync(copy.write_shard(index, rows))
        for position, (key, generation, row) in enumerate(planned):
            record = copy.row(start + position)
            if record is not None:
                try:
                    copy.read(start + position, key)
                except CorruptEntryError as error:
                    if is_marked(store.storage, copy.path, SEALED):
                        record = None
                    else:
                        copy.delete_shard(index)
                        raise StoreError(
                            f"{error}; the shard was dropped and nothing was swapped, compact again"
                        ) from error
            yield key, Place(namespace, generation, row), record


def _source(
    store: OpenedStore, namespace: Namespace, codec: str, key: str, generation: int, row: int
) -> Row | None:
    try:
        arrays = store.arrays_of(Place(namespace, generation, row))
        if codec != arrays.namespace.codec:
            return arrays.encoded_as(codec, row, key)
        # Decoded although the bytes are copied, so that a damaged row is noticed.
        arrays.read(row, key)
        return arrays.row(row)
    except CorruptEntryError:
        return None
