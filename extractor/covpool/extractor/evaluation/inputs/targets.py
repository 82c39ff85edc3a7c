"""Targets: the values that probes predict, one column each."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from covpool.extractor.evaluation.inputs.genes import CodingGene

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """Columns to predict for genes.

    Attributes:
        kind: "terms" are 0/1 and scored by AUROC; "tracks" are numbers and scored by Pearson's r and R².
        names: id of each column.
        titles: full names of the ids.
        values: (genes, targets) float32; NaN if a gene has no value, for tracks only.
        notes: how the files were read, and which parts were ignored; one sentence each.
    """

    kind: Literal["terms", "tracks"]
    names: tuple[str, ...]
    titles: tuple[str, ...]
    values: Matrix = field(repr=False)
    notes: tuple[str, ...] = ()

    def filled(self, training: npt.NDArray[np.int64]) -> Matrix:
        """(genes, targets) with the mean of the training genes for missing values."""
        missing = np.isnan(self.values)
        if not missing.any():
            return self.values
        sums = np.where(missing, 0, self.values)[training].sum(0)
        means = sums / np.maximum((~missing)[training].sum(0), 1)
        return np.where(missing, means.astype(np.float32), self.values)


def with_targets(genes: list[CodingGene], targets: Targets) -> tuple[list[CodingGene], Targets]:
    """The genes that have a target, and their targets; the notes state how many genes have none."""
    kept = np.flatnonzero(np.isfinite(targets.values).any(axis=1))
    if len(kept) == len(genes):
        return genes, targets
    note = f"genes without any target, which are left out: {len(genes) - len(kept):,} of {len(genes):,}"
    return [genes[index] for index in kept], replace(
        targets, values=targets.values[kept], notes=(*targets.notes, note)
    )
