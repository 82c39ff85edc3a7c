"""Linear scores of a plain kind: scale or project the features, pool, standardise, multiply by loadings.

    scores = Wᵀ ((kind(PᵀD C D P) - centre) / spread)

Spectral-root PCA is this with the kind "root" and principal axes W; reduced-rank ridge has supervised ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import BottleneckError
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.matrices import project
from covpool.store.threads import one_thread, side_by_side
from covpool.store.values.moments import FloatArray, Moments


@dataclass(frozen=True, eq=False)
class LinearScores(FittedPooling):
    """k scores of a pooling kind; a vector (k,), left unscaled.

    Attributes:
        features: name of the plain kind, or of several joined, for p numbers.
        projection: (d,) factors D, or (d, c) matrix D P, applied to the activations first.
        centre: (p,) training means of the kind's numbers.
        spread: (p,) training standard deviations, 1 where a number never varies.
        loadings: (p, k) W.

    Raises:
        BottleneckError: shapes do not fit each other, or a value is not finite.
        PoolingError: the kind is unknown.
    """

    features: str
    projection: FloatArray
    centre: FloatArray
    spread: FloatArray
    loadings: FloatArray

    kind: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        size = pooling(self.features).size(self.projection.shape[-1])
        if self.loadings.shape[:-1] != (size,) or not self.centre.shape == self.spread.shape == (size,):
            raise BottleneckError(
                f"pooling {self.name!r}: centre {self.centre.shape}, spread {self.spread.shape} and "
                f"loadings {self.loadings.shape} must be ({size},), ({size},) and ({size}, k)"
            )
        super().__post_init__()

    @property
    def ordered(self) -> bool:
        """Whether the first n scores are those of a fit with k = n, for every n."""
        return "curve" in self.fit

    @property
    def width(self) -> int:
        """Number of features d it takes."""
        return int(self.projection.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,)"""
        return (int(self.loadings.shape[1]),)

    def embed(self, moments: Moments) -> NDArray[np.float64]:
        """(k,) scores, computed in float64.

        Raises:
            BottleneckError: the widths differ.
        """
        scores: NDArray[np.float64] = self._scores(self._numbers(moments)[None])[0]
        return scores

    def embed_many(self, many: Sequence[Moments]) -> NDArray[np.float64]:
        """(n, k) scores of several moments, the same as one by one, but the loadings are read once.

        Raises:
            BottleneckError: the widths differ.
        """
        numbers = np.empty((len(many), len(self.centre)))
        for row, values in zip(numbers, side_by_side(self._numbers, many, side=self.width), strict=True):
            row[:] = values
        return self._scores(numbers)

    def _numbers(self, moments: Moments) -> NDArray[np.float64]:
        """(p,) numbers of the kind."""
        self.require_width(moments)
        return pooling(self.features).embed(project(moments, self.projection))

    def _scores(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) scores of (n, p) numbers."""
        with one_thread(self.projection.shape[-1]):
            scores: NDArray[np.float64] = ((numbers - self.centre) / self.spread) @ self.loadings
        return scores

    def feature_names(self, width: int) -> list[str]:
        """`score[0]`, …"""
        return [f"score[{index}]" for index in range(self.shape[0])]

    def tensors(self) -> Mapping[str, FloatArray]:
        """The four arrays."""
        return {
            "projection": self.projection,
            "centre": self.centre,
            "spread": self.spread,
            "loadings": self.loadings,
        }

    def settings(self) -> Mapping[str, str]:
        """The kind."""
        return {"features": self.features}
