"""Body cache: encoded matrices in memory; the bytes of a row never change, so they are sent again."""

from dataclasses import dataclass, field
from threading import Lock

from cachetools import LRUCache

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
        self._bodies: LRUCache[tuple[str, str], Encoded] = LRUCache(budget, lambda held: len(held.body))
        self._lock = Lock()

    def get(self, key: str, media_type: str, place: Place) -> Encoded | None:
        """The representation if it is held and of the key's present row; one of another row is dropped."""
        with self._lock:
            encoded = self._bodies.get((key, media_type))
            if encoded is not None and encoded.place != place:
                del self._bodies[key, media_type]
                return None
            return encoded

    def put(self, key: str, encoded: Encoded) -> None:
        """Hold a representation; the least recently used ones are dropped."""
        with self._lock:
            if 4 * len(encoded.body) <= self._bodies.maxsize:
                self._bodies[key, encoded.media_type] = encoded
