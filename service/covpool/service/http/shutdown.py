"""Shutdown: when the service stops, waiting requests are answered in time, and streams end."""

import math
import time

#: Share of the grace period in which a request may still wait; the rest is for its answer.
_WAITING = 0.75


class Shutdown:
    """Whether the service stops, and how long requests may still wait."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._answer_by = math.inf

    def begin(self) -> None:
        """Begin the shutdown."""
        self._answer_by = min(self._answer_by, time.monotonic() + _WAITING * self._grace_s)

    @property
    def begun(self) -> bool:
        """Whether the service stops."""
        return self._answer_by < math.inf

    @property
    def left_s(self) -> float:
        """Seconds for which a request may still wait; infinite before the shutdown."""
        return self._answer_by - time.monotonic()
