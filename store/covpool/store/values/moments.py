"""Moments: token count, mean and uncentred second moment of one layer over one selection of tokens.

Convention: the second moment is XᵀX / T for activations X (T tokens × d features); the division by the
count happens here, on read-out, and never inside a running sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from covpool.store.errors import InvalidMomentsError
from covpool.store.values.tiles import asymmetry

MomentsT = TypeVar("MomentsT", bound="Moments")
FloatArray = NDArray[np.float32] | NDArray[np.float64]

#: Largest |C - Cᵀ| / max |C| that still counts as symmetric: float32 rounding of either triangle.
SYMMETRY_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """First two moments of the activations of `count` tokens (Dooms, Wang, Pearce 2026, section 2).

    Attributes:
        count: number of tokens T, at least 1.
        mean: (d,) float32 or float64, X̄ = Xᵀ1 / T.
        second_moment: (d, d) of the same dtype, C = XᵀX / T, symmetric, not centred.

    Raises:
        InvalidMomentsError: shapes or dtypes disagree, or the count is below 1. Only `validate` checks
            values.
    """

    count: int
    mean: FloatArray
    second_moment: FloatArray

    def __post_init__(self) -> None:
        width = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if width < 1 or self.second_moment.shape != (width, width):
            raise InvalidMomentsError(
                f"moments: mean {self.mean.shape} and second moment {self.second_moment.shape} do not "
                "fit; expected (d,) and (d, d)"
            )
        if self.mean.dtype != self.second_moment.dtype or self.mean.dtype not in (
            np.dtype(np.float32),
            np.dtype(np.float64),
        ):
            raise InvalidMomentsError(
                f"moments: mean is {self.mean.dtype} and second moment {self.second_moment.dtype}; "
                "both must be float32 or both float64 (use .astype)"
            )
        if self.count < 1:
            raise InvalidMomentsError(f"moments: count must be at least 1, got {self.count}")

    @property
    def width(self) -> int:
        """Number of features d."""
        return int(self.mean.shape[0])

    @property
    def dtype(self) -> np.dtype[np.float32] | np.dtype[np.float64]:
        """Dtype of both arrays."""
        return self.mean.dtype

    def validate(self) -> None:
        """Refuse values that must never be cached.

        Raises:
            InvalidMomentsError: a value is not finite, or the second moment is not symmetric to
                `SYMMETRY_TOLERANCE` of its largest entry.
        """
        # A maximum or minimum keeps NaN and infinity.
        largest = float(max(self.second_moment.max(), -self.second_moment.min()))
        if not (np.isfinite(largest) and np.isfinite(self.mean).all()):
            raise InvalidMomentsError(
                "moments: a value is not finite; the activations overflowed or held NaN, "
                "try a wider compute dtype"
            )
        difference = asymmetry(self.second_moment)
        if difference > SYMMETRY_TOLERANCE * largest:
            raise InvalidMomentsError(
                f"moments: second moment is not symmetric (largest difference {difference:.3g} "
                f"against a largest entry of {largest:.3g})"
            )

    def astype(self, dtype: DTypeLike) -> Self:
        """The same moments in float32 or float64."""
        if self.mean.dtype == np.dtype(dtype):
            return self
        return type(self)(self.count, self.mean.astype(dtype), self.second_moment.astype(dtype))

    def covariance(self) -> FloatArray:
        """(d, d) centred covariance C - X̄ X̄ᵀ (divided by T, not T - 1), computed in float64."""
        mean = self.mean.astype(np.float64)
        centred = self.second_moment - np.outer(mean, mean)
        return centred.astype(np.float32) if self.dtype == np.float32 else centred

    def merge(self, other: Self) -> Self:
        """Moments of both sets of tokens together, weighted by their counts; the order does not matter.

        The sum is computed in float64, and the result has the wider of both dtypes. The sets must be disjoint
        and of one recipe (except for its selection); this cannot be checked here.
        """
        return merge((self, other))


def merge(parts: Iterable[MomentsT]) -> MomentsT:
    """Moments of any number of disjoint sets of tokens together (see `Moments.merge`).

    Raises:
        InvalidMomentsError: there are no parts, or their widths differ.
    """
    listed = list(parts)
    if not listed:
        raise InvalidMomentsError("merge: there is nothing to merge")
    widths = {part.width for part in listed}
    if len(widths) > 1:
        raise InvalidMomentsError(f"merge: parts have different widths {sorted(widths)}")
    count = sum(part.count for part in listed)
    weights = [part.count / count for part in listed]
    dtype = np.result_type(*(part.dtype for part in listed))
    mean = np.zeros(listed[0].width)
    second_moment = np.zeros((listed[0].width,) * 2)
    for weight, part in zip(weights, listed, strict=True):
        mean += weight * part.mean.astype(np.float64)
        second_moment += weight * part.second_moment.astype(np.float64)
    return type(listed[0])(count, mean.astype(dtype), second_moment.astype(dtype))
