"""Isolation: whatever goes wrong in a batch, every task but the one at fault is completed."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from covpool.service.processes.faults import DeathFault, Fault, OutsideFault

#: Smallest share of the usual memory that is tried.
LEAST_SHARE = 0.25

Item = TypeVar("Item")


def isolate(
    items: Iterable[Item], run: Callable[[list[Item], float], Iterable[Item]]
) -> Iterator[tuple[Item, Fault | None]]:
    """Each item, once it is settled, with the fault that is its own or None.

    A batch that fails is run again in halves without what was settled, so that after a few rounds the item
    at fault is alone. There a death is tried once more as it was: whoever killed the process may have meant
    another. When memory is the cause, each further run has half the share of it, down to `LEAST_SHARE`. Less
    memory means smaller pieces, which round otherwise: nobody else's share is lowered.

    Args:
        items: to be run together.
        run: yields items as they are settled, given a batch and its share of the usual memory; raises
            `Fault` when it cannot go on.

    Raises:
        OutsideFault: as `run` raised it: smaller batches would not help.
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
                # The last is taken first: order is kept.
                pending += [(left[half:], share, False), (left[:half], share, False)]
            elif left and isinstance(fault, DeathFault) and not died:
                pending.append((left, share, True))
            elif left and fault.memory_related and share / 2 >= LEAST_SHARE:
                pending.append((left, share / 2, died))
            elif left:
                yield left[0], fault
