"""Principal scores of a pooling kind; of the kind "root" it is spectral-root PCA.

H = (D C D)^½ with D the per-channel RMS scaling, half-vectorised with √2 off the diagonal, z-scored per
entry, projected onto k principal axes, and the scores left unscaled. A wide layer is projected before the
root is taken: H = (PᵀD C D P)^½, see `features`.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covpool.extractor.errors import FitError
from covpool.extractor.fitting.features import feature_table, projection_of
from covpool.extractor.fitting.methods.principal import PrincipalAxes, principal_axes
from covpool.extractor.fitting.source import MomentsSource, width_of
from covpool.extractor.fitting.state import fit_state
from covpool.extractor.fitting.summary import Scaling
from covpool.store.poolings.kinds import pooling
from covpool.store.poolings.scores import LinearScores

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrincipalFeatures:
    """The axes of a kind's numbers, and the numbers themselves.

    Attributes:
        kind: the kind.
        projection: (d,) or (d, c), applied to the activations first.
        axes: of the z-scored numbers.
        table: (n, p) the numbers; on disk, and gone when the fit ends.
    """

    kind: str
    projection: Matrix
    axes: PrincipalAxes
    table: NDArray[np.float32]

    def scores(self) -> Matrix:
        """(n, k) scores of the training moments."""
        step = 1024
        return np.concatenate(
            [
                ((self.table[start : start + step] - self.axes.centre) / self.axes.spread) @ self.axes.axes
                for start in range(0, len(self.table), step)
            ]
        )

    def fitted(self, loadings: Matrix, **attributes: Any) -> LinearScores:
        """The fitted pooling with these loadings (p, k) on the z-scored numbers; float32."""
        return LinearScores(
            self.kind,
            *(
                np.ascontiguousarray(array, np.float32)
                for array in (self.projection, self.axes.centre, self.axes.spread, loadings)
            ),
            **attributes,
        )


@contextmanager
def principal_features(
    source: MomentsSource,
    *,
    k: int,
    features: str,
    scaling: Scaling,
    directions: int | None,
    seed: int,
    state: Path | None,
    executor: Executor | None,
    or_fewer: bool = False,
) -> Iterator[PrincipalFeatures]:
    """See `fit_principal_scores`, whose arguments these are; `or_fewer` lowers k to what there is."""
    width = width_of(source)
    # The table of a stopped fit is taken up whatever k is, so that another k costs no new pass.
    settings = {
        "method": "features", "features": features, "scaling": scaling, "directions": directions,
        "basis": "localised",
    }  # fmt: skip
    with fit_state(state, source, settings) as kept:
        saved = kept.load()
        projection = (
            projection_of(source, scaling, directions, executor) if saved is None else saved["projection"]
        )
        size = pooling(features).size(projection.shape[-1])
        most = min(len(source) - 1, size)
        if or_fewer:
            k = min(k, most)
        if not 1 <= k <= most:
            raise FitError(
                f"cannot fit k={k} scores on {len(source)} moments of width {width} with {size} numbers "
                f"each; choose 1 to {most}"
            )
        table = feature_table(source, features, projection, kept, executor)
        yield PrincipalFeatures(features, projection, principal_axes(table, k, seed=seed), table)


def fit_principal_scores(
    source: MomentsSource,
    *,
    k: int,
    name: str,
    features: str = "root",
    scaling: Scaling = "rms",
    directions: int | None = None,
    seed: int = 0,
    state: Path | None = None,
    executor: Executor | None = None,
) -> LinearScores:
    """The first k principal scores of a pooling kind, the default being spectral-root PCA.

    Two passes over the moments; a table of n x p float32 numbers lies on disk meanwhile, in memory there are
    blocks of it and p x k numbers.

    Args:
        source: training moments.
        k: scores, fewer than there are moments.
        name: what requests will call it.
        features: plain kind, or several joined.
        scaling: D, see `Scaling`.
        directions: c, the width after projection; None for 256, and for no projection up to that width.
        seed: of the iteration that large tables take.
        state: directory in which to keep the table, and from which to go on.
        executor: computes parts of each pass in parallel.

    Raises:
        FitError: there are too few moments for k, no such kind, or the state is of another fit.
    """
    with principal_features(
        source,
        k=k,
        features=features,
        scaling=scaling,
        directions=directions,
        seed=seed,
        state=state,
        executor=executor,
    ) as principal:
        shares = (principal.axes.variances / principal.axes.total).cumsum()
        fit = {
            "method": f"principal scores of {features}",
            "scaling": scaling,
            "sequences": len(source),
            "directions": int(principal.projection.shape[-1]),
            "numbers": int(principal.table.shape[1]),
            "share_of_variance": float(shares[-1]),
            "curve": [float(share) for share in shares],
            "curve_of": "share of the variance",
            "curve_by": "number of scores",
        }
        return principal.fitted(principal.axes.axes, name=name, recipe=source.recipe, fit=fit)
