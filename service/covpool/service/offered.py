"""What this service offers: described models and the bottlenecks that fit them (no torch, no weights)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from covpool.extractor.errors import ModelNotFoundError
from covpool.extractor.models import Model, bundled_models, describe
from covpool.service.errors import RequestError
from covpool.store.bottleneck import Bottleneck
from covpool.store.keys import Recipe

BOTTLENECK_PATTERN = "bottleneck*.safetensors"


@dataclass(frozen=True)
class Offered:
    """Models and bottlenecks by name. Only these are reachable: no request names a path."""

    models: dict[str, Model] = field(default_factory=dict)
    bottlenecks: dict[str, Bottleneck] = field(default_factory=dict)

    @classmethod
    def read(cls, models: Iterable[str] = (), bottlenecks: Path | None = None) -> Self:
        """The bundled models and bottlenecks, further models by location, further bottlenecks in a folder.

        Raises:
            CheckpointError, ModelNotFoundError, BottleneckError: one of them cannot be read.
            RequestError: two share a name.
        """
        described: dict[str, Model] = {}
        for model in (*bundled_models(), *map(describe, models)):
            if model.name in described:
                raise RequestError(
                    f"two models are called {model.name!r}: {described[model.name].checkpoint.directory} and "
                    f"{model.checkpoint.directory}; rename one directory"
                )
            described[model.name] = model
        files = [
            path
            for model in described.values()
            for path in sorted(model.checkpoint.directory.glob(BOTTLENECK_PATTERN))
        ]
        files += sorted(bottlenecks.glob("*.safetensors")) if bottlenecks else []
        loaded: dict[str, Bottleneck] = {}
        for path in files:
            bottleneck = Bottleneck.load(path)
            if bottleneck.name in loaded:
                raise RequestError(f"{path}: a second bottleneck called {bottleneck.name!r}; remove one")
            loaded[bottleneck.name] = bottleneck
        return cls(described, loaded)

    def model(self, name: str) -> Model:
        """The model called `name`.

        Raises:
            ModelNotFoundError: it is not offered; the message lists those that are.
        """
        if name not in self.models:
            raise ModelNotFoundError(f"model {name!r} is not served here; choose {', '.join(self.models)}")
        return self.models[name]

    def bottleneck(self, name: str | None, recipe: Recipe) -> Bottleneck:
        """The bottleneck called `name`, or the first that fits the recipe.

        Raises:
            RequestError: there is none of that name, or none that fits.
            BottleneckError: the named one was fitted on other moments.
        """
        if name is not None:
            if name not in self.bottlenecks:
                known = ", ".join(self.bottlenecks) or "none"
                raise RequestError(f"bottleneck {name!r} is not served here; there is {known}")
            self.bottlenecks[name].require(recipe)
            return self.bottlenecks[name]
        found = self.default_bottleneck(recipe)
        if found is None:
            raise RequestError(
                f"no bottleneck fits model {recipe.model}, layer {recipe.layer}; fetch the moments, "
                "or fit a bottleneck and serve it"
            )
        return found

    def default_bottleneck(self, recipe: Recipe) -> Bottleneck | None:
        """The first bottleneck fitted in the recipe's feature space; None when there is none."""
        for bottleneck in self.bottlenecks.values():
            if bottleneck.recipe and bottleneck.recipe.feature_space == recipe.feature_space:
                return bottleneck
        return None
