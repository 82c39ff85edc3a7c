"""Divided: a long sequence whose forward several workers share, a step each.

Worth it where one sequence would keep its worker busy when the others have run out of work: see `is_giant`.
Whether one is divided changes no bit (see `covpool.extractor.extraction.parts`).
"""

from collections import deque

from covpool.extractor.extraction.parts import Step
from covpool.service.extraction.work import Work

#: A sequence is divided when it costs more than this part of what each worker has to do. Longest first then
#: leaves devices idle for about as long at the end.
SHARE = 0.25


def is_giant(cost: float, total: float, workers: int) -> bool:
    """Whether a sequence of this cost is divided, in a run of this total cost."""
    return workers > 1 and cost * workers > SHARE * total


class Divided:
    """Where a divided sequence stands.

    Args:
        whole: all of it as one piece of work, which ends it: it finds the sums that the steps left.
        stages: steps, see `parts.steps`.
    """

    def __init__(self, whole: Work, stages: list[list[Step]]) -> None:
        self.whole = whole
        self.steps = sum(map(len, stages))
        self.error = ""
        self._stages = deque(stages)
        self._open = 0

    def go_on(self) -> list[Work]:
        """The steps of the next stage, or after the last one all of it."""
        if not self._stages:
            return [self.whole]
        found = self._stages.popleft()
        self._open = len(found)
        return [Work(self.whole.members, self.whole.shape, step) for step in found]

    def settle(self, error: str | None) -> bool:
        """Count a step that ended, with its error if it failed; returns whether its stage is over."""
        self._open -= 1
        self.error = self.error or error or ""
        return not self._open
