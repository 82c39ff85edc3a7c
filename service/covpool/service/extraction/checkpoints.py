"""Checkpoints: the sums of a long sequence are stored from time to time, so that another run can continue."""

import time
from collections.abc import Callable
from contextlib import suppress

from covpool.extractor.extraction.extract import Keep, Partial
from covpool.extractor.extraction.workload import Keys
from covpool.store.errors import CorruptEntryError, FormatVersionError
from covpool.store.store import Store


class Checkpoints:
    """The checkpoints of long sequences.

    Args:
        store: where they are kept.
        every_s: seconds between two checkpoints.
    """

    def __init__(self, store: Store, every_s: float) -> None:
        self._partials, self._every_s = store.partials, every_s

    def kept(self, keys: Keys) -> Partial:
        """The stored sums of a sequence; sums that cannot be read are computed again."""
        partials = {}
        for named, key in keys.items():
            with suppress(CorruptEntryError, FormatVersionError):
                if (partial := self._partials.get(key)) is not None:
                    partials[named] = partial
        return partials

    def keep(self, keys: Keys) -> Keep:
        """A function for `extract_workloads`, which has the sums.

        Raises (when called):
            StoreError: the store refused.
        """
        kept_at = time.monotonic()

        def keep(take: Callable[[], Partial]) -> None:
            nonlocal kept_at
            if time.monotonic() < kept_at + self._every_s:
                return
            for named, partial in take().items():
                if named in keys:
                    self._partials.put(keys[named], partial)
            kept_at = time.monotonic()

        return keep
