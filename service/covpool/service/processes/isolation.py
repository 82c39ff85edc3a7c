"""Isolation: whatever goes wrong in a batch, every task but the one at fault is completed."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from covpool.service.processes.faults import DeathFault, Fault, OutsideFault

#: Smallest share of the usual memory that is tried.
LEAST_SHARE = 0.25

Item = TypeVar("Item")


def isolate(
    items: Iterable[Item],
    run: Callable[[list[Item], float], Iterable[Item]],
    share: float = 1.0,
    *,
    pardons: int = 0,
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
        pardons: deaths after which the batch is run again as it was, since whoever killed the process may
            have meant another; for callers that count no attempts.

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
            lower = share / 2 if fault.memory_related else share
            if left and pardons and isinstance(fault, DeathFault):
                pardons -= 1
                pending.append((left, share))
            elif len(left) > 1:
                half = len(left) // 2
                # The last is taken first: order is kept.
                pending += [(left[half:], lower), (left[:half], lower)]
            elif left and fault.memory_related and lower >= LEAST_SHARE:
                pending.append((left, lower))
            elif left:
                yield left[0], fault
