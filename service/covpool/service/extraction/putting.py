"""Putting: what bulk work computed goes into the store, in whatever process has the time."""

from dataclasses import dataclass, field

from covpool.service.extraction.work import Outcome
from covpool.store.errors import InvalidMomentsError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

Row = tuple[MomentsKey, Moments]


@dataclass
class Computed:
    """What came of work, not in the store yet.

    Attributes:
        worker: who computed.
        keys: digests of what is ready once the rows are there, by index of the plan's item.
        rows: what is to be put, by index.
        errors: by index, those that failed by their own fault.
        kept: whether something of these keys may have been kept on the way.
        busy_s: seconds the device was taken.
    """

    worker: str
    keys: dict[int, list[str]]
    rows: dict[int, list[Row]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    kept: bool = False
    busy_s: float = 0.0


def put(store: Store, computed: Computed) -> Outcome:
    """Cache all rows together; where one of them is refused, those of each item.

    Raises:
        StoreError: the store refused: no sequence is at fault.
    """
    errors = dict(computed.errors)
    try:
        store.put_many(row for rows in computed.rows.values() for row in rows)
    except (InvalidMomentsError, MemoryError):
        for index, rows in computed.rows.items():
            try:
                store.put_many(rows)
            except (InvalidMomentsError, MemoryError) as error:
                errors[index] = str(error) or "out of memory"
    keys = tuple(key for index, of_item in computed.keys.items() if index not in errors for key in of_item)
    if computed.kept:
        store.partials.drop_all(keys)
    return Outcome(errors, keys, computed.busy_s, computed.worker)
