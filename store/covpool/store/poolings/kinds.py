"""Pooling kinds: rules that turn moments into an embedding, by name, single or joined with `+`.

`pooling("mean+covariance")` joins two; a fitted pooling takes part under its own name. A plain kind needs no
fit; packages offer them in the entry-point group `covpool.poolings`. Everything is float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import PoolingError
from covpool.store.poolings.matrices import half_length
from covpool.store.registry import Registry
from covpool.store.values.keys import Recipe
from covpool.store.values.moments import Moments

Vector = NDArray[np.float64]

#: Joins pooling names; no fitted pooling may be called by a name that holds it.
JOIN = "+"


class Pooling(Protocol):
    """A rule that turns moments into an embedding of fixed shape."""

    @property
    def name(self) -> str:
        """Its name in requests and tables."""

    @property
    def standardise(self) -> bool:
        """Whether a probe should z-score the entries; False where their relative scale carries meaning."""

    @property
    def parts(self) -> "tuple[Pooling, ...]":
        """The joined poolings; itself if it joins none."""

    def size(self, width: int) -> int:
        """Numbers in the embedding of moments of `width` features."""

    def embed(self, moments: Moments) -> NDArray[np.float64]:
        """The embedding, float64, a vector or (k, k)."""

    def feature_names(self, width: int) -> list[str]:
        """One name per number of the flattened embedding of moments of `width` features."""

    def require(self, recipe: Recipe) -> None:
        """Refuse moments of a recipe that it does not fit."""


@dataclass(frozen=True)
class PlainPooling:
    """A kind that needs no fit.

    Attributes:
        name: its key in `KINDS`.
        summary: one line.
        matrix: whether it is the half-vector of a (d, d) matrix, else a vector of d numbers.
        pool: the rule.
    """

    name: str
    summary: str
    matrix: bool
    pool: Callable[[Moments], Vector]

    #: Entries of one kind differ in scale by orders of magnitude.
    standardise = True

    @property
    def parts(self) -> tuple[Pooling, ...]:
        """Itself."""
        return (self,)

    def size(self, width: int) -> int:
        """Numbers in the embedding of moments of `width` features."""
        return half_length(width) if self.matrix else width

    def embed(self, moments: Moments) -> Vector:
        """(d,) or (d (d + 1) / 2,) float64."""
        return self.pool(moments)

    def feature_names(self, width: int) -> list[str]:
        """`mean[3]`, `covariance[3,5]`, …"""
        if self.matrix:
            return [f"{self.name}[{i},{j}]" for i in range(width) for j in range(i, width)]
        return [f"{self.name}[{i}]" for i in range(width)]

    def require(self, recipe: Recipe) -> None:
        """Every recipe is taken."""


@dataclass(frozen=True)
class JoinedPooling:
    """Several poolings side by side, unchanged; `parts` shows a probe where each ends."""

    parts: tuple[Pooling, ...]

    @property
    def name(self) -> str:
        """The names of the parts, joined."""
        return JOIN.join(part.name for part in self.parts)

    @property
    def standardise(self) -> bool:
        """Whether every part should be z-scored; if False, each part has its own value."""
        return all(part.standardise for part in self.parts)

    def size(self, width: int) -> int:
        """Sum over the parts."""
        return sum(part.size(width) for part in self.parts)

    def embed(self, moments: Moments) -> Vector:
        """The flattened embeddings of the parts, one after another."""
        return np.concatenate([part.embed(moments).ravel() for part in self.parts])

    def feature_names(self, width: int) -> list[str]:
        """Those of the parts."""
        return [name for part in self.parts for name in part.feature_names(width)]

    def require(self, recipe: Recipe) -> None:
        """Every part must take the recipe."""
        for part in self.parts:
            part.require(recipe)


#: By name, of every installed package.
KINDS: Registry[PlainPooling] = Registry("covpool.poolings", PlainPooling, PoolingError)


def pooling(name: str, fitted: Mapping[str, Pooling] | None = None) -> Pooling:
    """The pooling called `name`: a fitted one, a plain kind, or several joined with `+`.

    Args:
        name: for example "mean", "mean+covariance", "ntv3-mini.up.6.k16", "mean+ntv3-mini.up.6.k16".
        fitted: fitted poolings by name.

    Raises:
        PoolingError: a part is neither; the message lists what there is.
    """
    poolings: dict[str, Pooling] = {**KINDS, **(fitted or {})}
    parts = []
    for part in name.split(JOIN):
        if part not in poolings:
            raise PoolingError(
                f"pooling {name!r}: there is no {part!r}; join with {JOIN} any of {', '.join(poolings)}"
            )
        parts.append(poolings[part])
    if len(set(name.split(JOIN))) < len(parts):
        raise PoolingError(f"pooling {name!r}: a part is named twice; name each once")
    return parts[0] if len(parts) == 1 else JoinedPooling(tuple(parts))
