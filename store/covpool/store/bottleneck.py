"""Bottleneck: the two thin projections L, R that turn a second moment into an embedding M = Lᵀ C R.

Source: Dooms, Wang, Pearce, "Covariance-based Sequence Pooling", 2026. File: safetensors with tensors `left`
and `right`, (d, k) float32 or float64, and text metadata `covpool_bottleneck`, `name`, `recipe`, `fit`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from covpool.store.errors import BottleneckError
from covpool.store.keys import Recipe, canonical_json
from covpool.store.moments import FloatArray, Moments

FILE_VERSION = "1"


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """Projections fitted to moments of one feature space.

    Attributes:
        left: (d, k), L.
        right: (d, k), R; the same as L when tied.
        name: what requests call it.
        recipe: recipe of the moments it was fitted on; None for one made by hand.
        fit: how it was fitted, and fit statistics (which say nothing about quality).

    Raises:
        BottleneckError: shapes differ, or a value is not finite.
    """

    left: FloatArray
    right: FloatArray
    name: str = ""
    recipe: Recipe | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.left.shape != self.right.shape:
            raise BottleneckError(
                f"bottleneck {self.name!r}: left {self.left.shape} and right {self.right.shape} must both "
                "be (d, k)"
            )
        if not (np.isfinite(self.left).all() and np.isfinite(self.right).all()):
            raise BottleneckError(f"bottleneck {self.name!r}: a value is not finite")

    @property
    def width(self) -> int:
        """Number of features d it takes."""
        return int(self.left.shape[0])

    @property
    def k(self) -> int:
        """Side of the embedding."""
        return int(self.left.shape[1])

    def embed(self, moments: Moments) -> NDArray[np.float64]:
        """(k, k) embedding M = Lᵀ C R, computed in float64; not symmetrised.

        Raises:
            BottleneckError: the widths differ.
        """
        if moments.width != self.width:
            raise BottleneckError(
                f"bottleneck {self.name!r}: takes width {self.width}, the moments have {moments.width}; "
                "use one that was fitted on this layer"
            )
        left, right = self.left.astype(np.float64), self.right.astype(np.float64)
        embedding: NDArray[np.float64] = left.T @ moments.second_moment.astype(np.float64) @ right
        return embedding

    def require(self, recipe: Recipe) -> None:
        """Refuse moments of another feature space (model, weights, layer, dtype or condition).

        Moments that differ only in context, strand, skipped tokens or region class are taken.

        Raises:
            BottleneckError: naming what differs.
        """
        if self.recipe is None or self.recipe.feature_space == recipe.feature_space:
            return
        differing = [
            f"{name} {ours!r} instead of {theirs!r}"
            for name in (
                "family",
                "weights",
                "adapter_version",
                "layer",
                "dtype",
                "condition",
            )
            if (theirs := getattr(recipe, name)) != (ours := getattr(self.recipe, name))
        ]
        raise BottleneckError(
            f"bottleneck {self.name!r} was fitted on other moments ({'; '.join(differing)}); "
            "choose one of this model and layer, or fit one"
        )

    def save(self, path: Path) -> None:
        """Write the safetensors file."""
        save_file(
            {"left": np.ascontiguousarray(self.left), "right": np.ascontiguousarray(self.right)},
            path,
            metadata={
                "covpool_bottleneck": FILE_VERSION,
                "name": self.name,
                "recipe": self.recipe.to_json() if self.recipe else "",
                "fit": canonical_json(dict(self.fit)),
            },
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote.

        Raises:
            BottleneckError: it is damaged, of another version, or no bottleneck.
        """
        try:
            with safe_open(path, "numpy") as file:
                notes = file.metadata() or {}
                if notes.get("covpool_bottleneck") != FILE_VERSION:
                    raise BottleneckError(
                        f"{path}: not a covpool bottleneck of version {FILE_VERSION}; fit it again"
                    )
                recipe = Recipe.from_json(notes["recipe"]) if notes["recipe"] else None
                return cls(
                    file.get_tensor("left"),
                    file.get_tensor("right"),
                    notes["name"],
                    recipe,
                    json.loads(notes["fit"]),
                )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            if isinstance(error, BottleneckError):
                raise
            raise BottleneckError(f"{path}: not a readable bottleneck file ({error})") from error
