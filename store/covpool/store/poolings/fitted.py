"""Fitted poolings: their common fields, and their versioned safetensors files.

File: safetensors with the tensors of its kind and text metadata `covpool_pooling` (file version), `kind`,
`name`, `settings` (what its kind needs apart from tensors), `recipe` (empty for one made by hand) and `fit`,
the last three as canonical JSON. Packages offer kinds in the entry-point group `covpool.fitted_poolings`.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from covpool.store.errors import BottleneckError
from covpool.store.poolings.kinds import JOIN, KINDS, Pooling
from covpool.store.registry import Registry
from covpool.store.storage.whole_files import write_whole
from covpool.store.values.keys import Recipe, canonical_json, sha256
from covpool.store.values.moments import FloatArray, Moments

FILE_VERSION = "2"


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedPooling(ABC):
    """A pooling with fitted parameters, bound to the feature space of its training moments.

    Attributes:
        name: what requests call it.
        recipe: recipe of the moments it was fitted on; None for one made by hand.
        fit: how it was fitted, and fit statistics (which say nothing about quality).
    """

    name: str = ""
    recipe: Recipe | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)

    #: Name of the class in files.
    kind: ClassVar[str]
    #: A fitted embedding goes to a probe as it is: its directions are ordered by how much they carry, and
    #: z-scoring them blows up noise.
    standardise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_name(self.name)
        for name, tensor in self.tensors().items():
            if not np.isfinite(tensor).all():
                raise BottleneckError(f"pooling {self.name!r}: a value of {name} is not finite")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all fitted values; poolings of one name differ in it."""
        tensors = {
            name: [list(tensor.shape), str(tensor.dtype), sha256(np.ascontiguousarray(tensor).tobytes())]
            for name, tensor in self.tensors().items()
        }
        return sha256(canonical_json(self._description() | {"tensors": tensors}))

    def _description(self) -> dict[str, Any]:
        """Everything but the tensors."""
        return {
            "kind": self.kind,
            "name": self.name,
            "settings": dict(self.settings()),
            "recipe": self.recipe.to_json() if self.recipe else "",
            "fit": dict(self.fit),
        }

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of features d it takes."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of an embedding."""

    @property
    def ordered(self) -> bool:
        """Whether the first n numbers of an embedding are those of a fit with k = n, for every n."""
        return False

    @property
    def parts(self) -> tuple[Pooling, ...]:
        """Itself."""
        return (self,)

    def size(self, width: int) -> int:
        """Numbers in an embedding."""
        return math.prod(self.shape)

    @abstractmethod
    def embed(self, moments: Moments) -> NDArray[np.float64]:
        """The embedding, of `shape`."""

    @abstractmethod
    def feature_names(self, width: int) -> list[str]:
        """One name per number of the flattened embedding."""

    @abstractmethod
    def tensors(self) -> Mapping[str, FloatArray]:
        """The fitted arrays by attribute name."""

    def settings(self) -> Mapping[str, str]:
        """Values of the kind other than tensors, by attribute name."""
        return {}

    def require_width(self, moments: Moments) -> None:
        """Refuse moments of another width.

        Raises:
            BottleneckError: naming both.
        """
        if moments.width != self.width:
            raise BottleneckError(
                f"pooling {self.name!r}: takes width {self.width}, the moments have {moments.width}; "
                "use one that was fitted on this layer"
            )

    def require(self, recipe: Recipe) -> None:
        """Refuse moments of another feature space (model, weights, layer, dtype or condition).

        Moments that differ only in context, strand, skipped tokens or selection are taken.

        Raises:
            BottleneckError: naming what differs.
        """
        if self.recipe is None or self.recipe.feature_space == recipe.feature_space:
            return
        differing = [
            f"{name} {ours!r} instead of {theirs!r}"
            for name in ("family", "weights", "adapter_version", "layer", "dtype", "condition")
            if (theirs := getattr(recipe, name)) != (ours := getattr(self.recipe, name))
        ]
        raise BottleneckError(
            f"pooling {self.name!r} was fitted on other moments ({'; '.join(differing)}); "
            "choose one of this model and layer, or fit one"
        )

    def save(self, path: Path) -> None:
        """Write the safetensors file, in one step.

        Raises:
            OSError: the disk is full, or the directory cannot be written.
        """
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in self.tensors().items()}
        described = self._description()
        texts = {name: canonical_json(described[name]) for name in ("settings", "fit")}
        write_whole(path, save(tensors, {"covpool_pooling": FILE_VERSION} | described | texts))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` of this class wrote; `load_pooling` reads every kind.

        Raises:
            BottleneckError: it is damaged, of another version or kind, or no fitted pooling.
        """
        try:
            with safe_open(path, "numpy") as file:
                notes = file.metadata() or {}
                if notes.get("covpool_pooling") != FILE_VERSION or notes["kind"] != cls.kind:
                    raise BottleneckError(
                        f"{path}: not a covpool {cls.kind} of file version {FILE_VERSION}; fit it again"
                    )
                recipe = Recipe.from_json(notes["recipe"]) if notes["recipe"] else None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                settings, fit = json.loads(notes["settings"]), json.loads(notes["fit"])
                return cls(**tensors, **settings, name=notes["name"], recipe=recipe, fit=fit)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BottleneckError):
                raise
            raise BottleneckError(f"{path}: not a readable file of a fitted pooling ({error})") from error


#: Classes by kind, of every installed package.
FITTED: Registry[type[FittedPooling]] = Registry("covpool.fitted_poolings", type, BottleneckError)


def check_name(name: str) -> None:
    """Refuse a name that would hide a plain kind or be read as several.

    Raises:
        BottleneckError: saying which names are taken.
    """
    if JOIN in name or name in KINDS:
        raise BottleneckError(f"pooling {name!r}: a name holds no {JOIN!r} and is none of {', '.join(KINDS)}")


def load_pooling(path: Path) -> FittedPooling:
    """The fitted pooling in a file.

    Raises:
        BottleneckError: it is damaged, of another version, or of no kind that is installed.
    """
    try:
        with safe_open(path, "numpy") as file:
            kind = str((file.metadata() or {}).get("kind", ""))
    except (SafetensorError, OSError) as error:
        raise BottleneckError(f"{path}: not a readable file of a fitted pooling ({error})") from error
    if kind not in FITTED:
        raise BottleneckError(
            f"{path}: holds no fitted pooling of a known kind ({kind or 'it names none'}); fit it again, or "
            "install the package that brings its kind"
        )
    return FITTED[kind].load(path)
