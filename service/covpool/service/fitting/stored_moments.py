"""Stored moments: the moments that a fit reads repeatedly, in this process or in others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from covpool.store.errors import PoolingError
from covpool.store.store import Store
from covpool.store.values.keys import MomentsKey, Recipe, sha256
from covpool.store.values.moments import Moments

#: Decoded moments are kept in memory up to this many bytes; a larger collection is read every time.
MEMORY_BYTES = 1 << 30


class StoredMoments:
    """A source of moments for fits; its pickle has no moments, and each worker reads the store itself.

    Args:
        open_store: opens the store; called once in every process that reads.
        keys: keys of one feature space, in the order of the fit.
        memory_bytes: see `MEMORY_BYTES`.

    Raises:
        PoolingError: there are no keys, or they are of several feature spaces.
    """

    def __init__(
        self, open_store: Callable[[], Store], keys: Iterable[MomentsKey], memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.keys = tuple(keys)
        self.memory_bytes = memory_bytes
        self._open_store = open_store
        self._kept: dict[int, Moments] = {}
        spaces = {key.recipe.feature_space: key.recipe for key in self.keys}
        if len(spaces) != 1:
            raise PoolingError(
                "there are no moments to fit on; extract some, or choose others"
                if not spaces
                else "moments of several models or layers: "
                + ", ".join(sorted(f"{recipe.model} {recipe.layer}" for recipe in spaces.values()))
                + "; choose one"
            )

    @property
    def recipe(self) -> Recipe:
        """The recipe of the first key; the others share its feature space."""
        return self.keys[0].recipe

    @property
    def digest(self) -> str:
        """Digest over the keys, in order."""
        return sha256("".join(key.digest for key in self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, indices: Sequence[int]) -> Iterator[Moments]:
        """The moments at these places, from memory or from the store."""
        for index in indices:
            moments = self._kept.get(index)
            if moments is None:
                moments = self._store.get(self.keys[index])
                if len(self.keys) * moments.second_moment.nbytes <= self.memory_bytes:
                    self._kept[index] = moments
            yield moments

    @cached_property
    def _store(self) -> Store:
        return self._open_store()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "keys": self.keys,
            "memory_bytes": self.memory_bytes,
            "_open_store": self._open_store,
            "_kept": {},
        }
