"""Settling: computes results and puts them into the store; waits during outages, isolates faults."""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from covpool.service.extraction.patience import patiently
from covpool.service.processes.faults import Fault, InputFault
from covpool.service.processes.isolation import isolate
from covpool.store.errors import InvalidMomentsError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey
from covpool.store.values.moments import Moments

Row = tuple[MomentsKey, Moments]
Item = TypeVar("Item")


def settle(
    store: Store,
    items: Iterable[Item],
    compute: Callable[[list[Item], float], list[Row]],
    over: threading.Event,
    *,
    replace: bool = False,
    on_put: Callable[[list[Row]], None] = lambda rows: None,
) -> Iterator[tuple[Item, Fault | None]]:
    """Each item when its results are in the store, or with its own fault.

    Args:
        store: where the results go.
        items: items to compute together.
        compute: returns the results of items; its second argument is the share of the usual memory.
        over: ends every wait when it is set.
        replace: replace stored results that have other bits.
        on_put: called with the rows that were put.

    Raises:
        OutsideFault, StoreError: no item is at fault.
    """

    def run(batch: list[Item], share: float) -> list[Item]:
        rows = patiently(store, partial(compute, batch, share), over)
        patiently(store, partial(_put, store, rows, replace=replace), over)
        on_put(rows)
        return batch

    return isolate(items, run)


def _put(store: Store, rows: list[Row], *, replace: bool) -> None:
    try:
        store.put_many(rows, replace=replace)
    except (InvalidMomentsError, MemoryError) as error:
        raise InputFault(str(error) or "out of memory") from error
