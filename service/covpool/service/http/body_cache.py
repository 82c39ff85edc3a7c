"""Body cache: encoded matrices in memory; the bytes of a row never change, so they are sent again."""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from covpool.store.catalog.entries import Place


@dataclass(frozen=True, slots=True)
class Encoded:
    """One representation of one key.

    Attributes:
        body: the bytes to send.
        media_type: its content type.
        headers: further headers, its entity tag included.
        place: place of the row that it was read from.
    """

    body: bytes = field(repr=False)
    media_type: str
    headers: dict[str, str]
    place: Place


class BodyCache:
    """The latest used bodies, up to `budget` bytes; a body larger than a quarter of that is not kept."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._bodies: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, media_type: str, place: Place) -> Encoded | None:
        """The representation if it is held and of the key's present row; one of another row is dropped."""
        name = (key, media_type)
        with self._lock:
            encoded = self._bodies.get(name)
            if encoded is None:
                return None
            if encoded.place != place:
                self._drop(name)
                return None
            self._bodies.move_to_end(name)
            return encoded

    def put(self, key: str, encoded: Encoded) -> None:
        """Hold a representation; the least recently used ones are dropped."""
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
