"""Targets of a supervised fit: numbers or 0/1 labels per sequence, and the block held out to choose with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError

Matrix = NDArray[np.float64]

#: The last so much of the sequences, in their order, chooses penalties and the epoch to stop at.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of the sequences of a source, in its order.

    Attributes:
        values: (n, t) float64, finite, every column varying.
        names: of the t columns.

    Raises:
        FitError: a value is missing or a column is constant.
    """

    values: Matrix
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names) or not self.names:
            raise FitError(f"targets {self.values.shape}: expected (n, {len(self.names)}), at least one")
        for name, column in zip(self.names, self.values.T, strict=True):
            if not np.isfinite(column).all():
                raise FitError(f"target {name!r}: a value is missing; leave those sequences out")
            if np.ptp(column) == 0:
                raise FitError(f"target {name!r}: is the same for every sequence; leave it out")

    @property
    def labels(self) -> bool:
        """Whether every value is 0 or 1."""
        return bool(np.isin(self.values, (0, 1)).all())

    def check(self, n: int) -> None:
        """Refuse targets of another number of sequences, or too few to hold some out.

        Raises:
            FitError: naming both numbers.
        """
        if len(self.values) != n:
            raise FitError(f"targets of {len(self.values)} sequences do not fit {n} moments")
        if n < 10:
            raise FitError(f"a supervised fit holds a fifth out and needs 10 sequences, there are {n}")

    def training(self) -> int:
        """How many sequences come before the held-out block."""
        return len(self.values) - max(1, round(HELD_OUT * len(self.values)))
