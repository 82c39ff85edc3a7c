"""Bottleneck: the two thin projections L, R that turn a second moment into an embedding M = Lᵀ C R.

Source: Dooms, Wang, Pearce, "Covariance-based Sequence Pooling", 2026. Its file (see `poolings.fitted`) holds
the tensors `left` and `right`, (d, k) float32 or float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from covpool.store.errors import BottleneckError
from covpool.store.poolings.fitted import FittedPooling
from covpool.store.poolings.matrices import two_sided
from covpool.store.values.moments import FloatArray, Moments


@dataclass(frozen=True, eq=False)
class Bottleneck(FittedPooling):
    """Projections fitted to moments of one feature space.

    Attributes:
        left: (d, k), L.
        right: (d, k), R; the same as L when tied.

    Raises:
        BottleneckError: shapes differ, or a value is not finite.
    """

    left: FloatArray
    right: FloatArray

    kind: ClassVar[str] = "bottleneck"

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.left.shape != self.right.shape:
            raise BottleneckError(
                f"bottleneck {self.name!r}: left {self.left.shape} and right {self.right.shape} must both "
                "be (d, k)"
            )
        super().__post_init__()

    @property
    def width(self) -> int:
        """Number of features d it takes."""
        return int(self.left.shape[0])

    @property
    def k(self) -> int:
        """Side of the embedding."""
        return int(self.left.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(k, k)"""
        return (self.k, self.k)

    def embed(self, moments: Moments) -> NDArray[np.float64]:
        """(k, k) embedding M = Lᵀ C R, computed in float64; not symmetrised.

        Raises:
            BottleneckError: the widths differ.
        """
        self.require_width(moments)
        left, right = self.left.astype(np.float64), self.right.astype(np.float64)
        return two_sided(left, moments.second_moment, right)

    def feature_names(self, width: int) -> list[str]:
        """`M[0,0]`, `M[0,1]`, … row-major."""
        return [f"M[{i},{j}]" for i in range(self.k) for j in range(self.k)]

    def tensors(self) -> Mapping[str, FloatArray]:
        """Both projections."""
        return {"left": self.left, "right": self.right}
