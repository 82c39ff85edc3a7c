"""Encoded matrices kept in memory: the bytes of a key never change, so sending them again costs no work."""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True, slots=True)
class Encoded:
    """One representation of one key.

    Attributes:
        body: what is sent.
        media_type: its content type.
        headers: what else is told of it, its entity tag among them.
    """

    body: bytes = field(repr=False)
    media_type: str
    headers: dict[str, str]


class BodyCache:
    """The latest used bodies, up to so many bytes in all; a body larger than a quarter of it is not kept."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._bodies: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, media_type: str) -> Encoded | None:
        """The representation when it is held."""
        with self._lock:
            found = self._bodies.get((key, media_type))
            if found is not None:
                self._bodies.move_to_end((key, media_type))
            return found

    def put(self, key: str, encoded: Encoded) -> None:
        """Hold a representation, letting go of those that were not used for longest."""
        name, size = (key, encoded.media_type), len(encoded.body)
        if 4 * size > self._budget:
            return
        with self._lock:
            replaced = self._bodies.pop(name, None)
            self._held += size - (len(replaced.body) if replaced else 0)
            self._bodies[name] = encoded
            while self._held > self._budget:
                _, dropped = self._bodies.popitem(last=False)
                self._held -= len(dropped.body)
