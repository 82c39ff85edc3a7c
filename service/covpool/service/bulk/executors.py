"""Executors: where bulk work runs. All give the same bits, and each survives the death of a worker."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from covpool.service.extraction.work import Died, Outcome, Work

#: Times that work may kill its worker before it is set aside.
ATTEMPTS = 3
#: Pieces of work that a worker has at once: one is computed, one put into the store, and one waits.
AHEAD = 3


class Executor(Protocol):
    """Runs work somewhere; the caller keeps at most `room` pieces under way."""

    @property
    def workers(self) -> int:
        """Workers there are now."""

    @property
    def room(self) -> int:
        """Pieces of work that may be under way, over all workers there are now."""

    def submit(self, work: Work) -> None:
        """Begin a piece of work as soon as a worker is free; of those waiting the costliest goes first."""

    def settled(self, timeout: float) -> Iterator[tuple[Work, Outcome | Died]]:
        """Work that came to an end, waiting for the first at most `timeout` seconds.

        Raises:
            StoreError: the store refused.
            BulkError: the workers or their scheduler are lost.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up what is under way; nothing of it is lost that was cached."""
