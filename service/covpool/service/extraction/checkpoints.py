"""Checkpoints: the sums of a long sequence under way go into the store now and then, for whoever goes on."""

import time
from collections.abc import Callable
from contextlib import suppress

from covpool.extractor.extraction.extract import Keep, Partial
from covpool.extractor.extraction.workload import Keys
from covpool.store.errors import CorruptEntryError, FormatVersionError
from covpool.store.store import Store


class Checkpoints:
    """What is kept of long sequences.

    Args:
        store: where.
        every_s: seconds between two times.
    """

    def __init__(self, store: Store, every_s: float) -> None:
        self._partials, self._every_s = store.partials, every_s

    def kept(self, keys: Keys) -> Partial:
        """What is known of a sequence; what cannot be read is computed again."""
        found = {}
        for named, key in keys.items():
            with suppress(CorruptEntryError, FormatVersionError):
                if (partial := self._partials.get(key)) is not None:
                    found[named] = partial
        return found

    def keep(self, keys: Keys) -> Keep:
        """To be called by `extract_regions`, which knows the sums.

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
