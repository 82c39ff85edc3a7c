"""Keeping: what is known of a long sequence goes into the store now and then, for whoever goes on with it."""

import time
from collections.abc import Callable, Mapping

from covpool.extractor.extraction.extract import Keep, Kept, Partial
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey

#: Keys of one sequence by layer and region class.
Keys = Mapping[tuple[str, str], MomentsKey]


class Keeping:
    """The sums of long sequences under way.

    Args:
        store: where they are kept.
        every_s: seconds between two times.
    """

    def __init__(self, store: Store, every_s: float) -> None:
        self._store, self._every_s = store, every_s

    def kept(self, keys: Keys) -> Kept:
        """What is known; what cannot be read is computed again."""
        return {named: self._store.partials.chain(key) for named, key in keys.items()}

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
                    self._store.partials.put(keys[named], partial)
            kept_at = time.monotonic()

        return keep
