"""Targets: what probes predict, one column each."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """Columns to predict for genes.

    Attributes:
        kind: "terms" are 0/1 and scored by AUROC; "tracks" are numbers and scored by Pearson's r and R².
        names: id of each column.
        titles: what the ids stand for.
        values: (genes, targets) float32; NaN where a gene has none, of tracks only.
        notes: how the files were read, and what of them counts nothing; one sentence each.
    """

    kind: Literal["terms", "tracks"]
    names: tuple[str, ...]
    titles: tuple[str, ...]
    values: Matrix = field(repr=False)
    notes: tuple[str, ...] = ()
