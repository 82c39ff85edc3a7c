"""Encoded matrices kept in memory: the bytes of a row never change, so sending them again costs no work."""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from covpool.store.catalog.entries import Place


@dataclass(frozen=True, slots=True)
class Encoded:
    """One representation of one key.

    Attributes:
        body: what is sent.
        media_type: its content type.
        headers: what else is told of it, its entity tag among them.
        place: of the row that it was read from.
    """

    body: bytes = field(repr=False)
    media_type: str
    headers: dict[str, str]
    place: Place


class BodyCache:
    """The latest used bodies, up to so many bytes in all; a body larger than a quarter of it is not kept."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._bodies: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, media_type: str, place: Place) -> Encoded | None:
        """The representation when it is held, and of the row that is the key's now; others are dropped."""
        name = (key, media_type)
        with self._lock:
            found = self._bodies.get(name)
            if found is None:
                return None
            if found.place != place:
                self._drop(name)
                return None
            self._bodies.move_to_end(name)
            return found

    def put(self, key: str, encoded: Encoded) -> None:
        """Hold a representation, letting go of those that were not used for longest."""
        name, size = (key, encoded.media_type), len(encoded.body)
        if 4 * size > self._budget:
            return
        with self._lock:
            self._drop(name)
            self._held += size
            self._bodies[name] = encoded
            while self._held > self._budget:
                self._drop(next(iter(self._bodies)))

    def _drop(self, name: tuple[str, str]) -> None:
        if (dropped := self._bodies.pop(name, None)) is not None:
            self._held -= len(dropped.body)
