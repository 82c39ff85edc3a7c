"""Isolation: whatever goes wrong in a batch, every task but the one at fault is completed."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from covpool.service.worker.faults import Fault, OutsideFault

#: Smallest share of the usual memory that is tried.
LEAST_SHARE = 0.25

Item = TypeVar("Item")


def isolate(
    items: Iterable[Item], run: Callable[[list[Item], float], Iterable[Item]], share: float = 1.0
) -> Iterator[tuple[Item, Fault | None]]:
    """Each item, once it is settled, with the fault that is its own or None.

    A batch that fails is run again in halves without what was settled, so that after a few rounds the item
    at fault is alone. When memory may be the cause, each further run has half the share of it, and an item
    alone is tried down to `LEAST_SHARE`.

    Args:
        items: to be run together.
        run: yields items as they are settled, given a batch and its share of the usual memory; raises
            `Fault` when it cannot go on.
        share: of the first run.

    Raises:
        OutsideFault: as `run` raised it: smaller batches would not help.
    """
    pending = [(list(items), share)]
    while pending:
        batch, share = pending.pop()
        left = list(batch)
        try:
            for item in run(batch, share):
                left.remove(item)
                yield item, None
        except OutsideFault:
            raise
        except Fault as fault:
            lower = share / 2 if fault.hungry else share
            if len(left) > 1:
                half = len(left) // 2
                # The last is taken first: order is kept.
                pending += [(left[half:], lower), (left[:half], lower)]
            elif left and fault.hungry and lower >= LEAST_SHARE:
                pending.append((left, lower))
            elif left:
                yield left[0], fault
