"""Shutdown: once the service was told to stop, requests that wait answer in time, and streams end."""

import math
import time

#: Share of the time of grace in which a request may go on waiting; the rest is for its answer.
_WAITING = 0.75


class Shutdown:
    """Begins once; until then nothing has to end."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._answer_by = math.inf

    def begin(self) -> None:
        """Say that the service stops."""
        self._answer_by = min(self._answer_by, time.monotonic() + _WAITING * self._grace_s)

    @property
    def begun(self) -> bool:
        """Whether the service stops."""
        return self._answer_by < math.inf

    @property
    def left_s(self) -> float:
        """Seconds for which a request may still wait; infinite while nothing stops."""
        return self._answer_by - time.monotonic()
