"""Rates: how often one caller may ask, as token buckets in this process's memory."""

import time
from collections import OrderedDict

#: Callers remembered. The least recent one is dropped first, and then starts with a full bucket.
_CALLERS = 100_000


class Rates:
    """A bucket of `per_minute` requests for each caller, refilled evenly; no limit when it is 0."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Count one request of the caller: 0 when it may pass, else seconds until the next may."""
        if not self._per_minute:
            return 0.0
        now, per_s = time.monotonic(), self._per_minute / 60
        left, seen = self._buckets.pop(caller, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - seen) * per_s)
        passes = left >= 1
        self._buckets[caller] = (left - 1 if passes else left, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - left) / per_s
