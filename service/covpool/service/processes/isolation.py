"""Isolation: when a batch fails, every task except the one at fault is completed."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from covpool.service.processes.faults import DeathFault, Fault, OutsideFault

#: Smallest share of the usual memory that is tried.
LEAST_SHARE = 0.25

Item = TypeVar("Item")


def isolate(
    items: Iterable[Item], run: Callable[[list[Item], float], Iterable[Item]]
) -> Iterator[tuple[Item, Fault | None]]:
    """Each item when it is settled, with its own fault or None.

    A batch that fails is run again in halves without its settled items, until the item at fault is alone. If
    the process then died, the item is tried once more: the death may have another cause. If memory is the
    cause, each further run has half the memory share, down to `LEAST_SHARE`. Less memory changes the
    rounding, so the share of other items is not lowered.

    Args:
        items: items to run together.
        run: takes a batch and its share of the usual memory; yields items as they are settled, and raises
            `Fault` when it cannot go on.

    Raises:
        OutsideFault: from `run`: smaller batches would not help.
    """
    pending = [(list(items), 1.0, False)]
    while pending:
        batch, share, died = pending.pop()
        left = list(batch)
        try:
            for item in run(batch, share):
                left.remove(item)
                yield item, None
        except OutsideFault:
            raise
        except Fault as fault:
            if len(left) > 1:
                half = len(left) // 2
                # The last entry is taken first, so order is kept.
                pending += [(left[half:], share, False), (left[:half], share, False)]
            elif left and isinstance(fault, DeathFault) and not died:
                pending.append((left, share, True))
            elif left and fault.memory_related and share / 2 >= LEAST_SHARE:
                pending.append((left, share / 2, died))
            elif left:
                yield left[0], fault
